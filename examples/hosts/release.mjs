// Releases samples by a privatizer's graph, in Node.
//
//     node release.mjs privatizer.onnx key samples released
//
// `key` holds the device's 32 secret bytes, `samples` the samples one behind another, as the graph takes them (uint8; of
// faces 64 x 64 x 3 each, already aligned). `released` gets the releases in the same form; of a sample that is kept back
// there is nothing in it. docs/hosts.md says what each part is for.

import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";

const BATCH = 16;
const DRAWS = 8; // how often other random numbers are tried for a sample that is kept back

const hmac = (key, ...parts) => {
  const digest = createHmac("sha256", key);
  for (const part of parts) digest.update(part);
  return digest.digest();
};

/** So many numbers in [0, 1), a function of the seed. */
function uniforms(seed, count) {
  const drawn = new Float64Array(count);
  for (let block = 0; block * 4 < count; block++) {
    const number = Buffer.alloc(4);
    number.writeUInt32LE(block);
    const bytes = hmac(seed, number);
    for (let place = 0; place < 4 && block * 4 + place < count; place++) {
      drawn[block * 4 + place] = Number(bytes.readBigUInt64LE(8 * place) >> 11n) * 2 ** -53;
    }
  }
  return drawn;
}

/** Fills one row of each: from N(0, 1), by Box and Muller, and in [0, 1). */
function drawRandomNumbers(seed, normal, uniform) {
  const pairs = Math.ceil(normal.length / 2);
  const drawn = uniforms(seed, 2 * pairs + uniform.length);
  for (let pair = 0; pair < pairs; pair++) {
    const radius = Math.sqrt(-2 * Math.log1p(-drawn[pair]));
    const angle = 2 * Math.PI * drawn[pairs + pair];
    normal[pair] = radius * Math.cos(angle);
    if (pairs + pair < normal.length) normal[pairs + pair] = radius * Math.sin(angle);
  }
  uniform.set(drawn.subarray(2 * pairs));
}

/** The entries of `metadata_props` (field 14 of ONNX's ModelProto, each with a key 1 and a value 2). */
function metadata(bytes) {
  const said = {};
  const read = (from, to, take) => {
    let at = from;
    const varint = () => {
      let value = 0n;
      for (let shift = 0n; ; shift += 7n) {
        const byte = bytes[at++];
        value |= BigInt(byte & 127) << shift;
        if (byte < 128) return Number(value);
      }
    };
    while (at < to) {
      const tag = varint();
      if ((tag & 7) === 0) varint();
      else if ((tag & 7) === 1) at += 8;
      else if ((tag & 7) === 5) at += 4;
      else {
        const length = varint();
        take(tag >> 3, at, at + length);
        at += length;
      }
    }
  };
  read(0, bytes.length, (field, from, to) => {
    if (field !== 14) return;
    const entry = {};
    read(from, to, (part, start, end) => (entry[part] = bytes.toString("utf8", start, end)));
    said[entry[1]] = entry[2];
  });
  return said;
}

/** A privatizer's graph, and the key that all its random numbers come from. */
class Privatizer {
  static async open(graph, key) {
    if (key.length !== 32) throw new Error("the key has to be 32 bytes");
    const said = metadata(graph);
    if (said["privsdk.schema"] !== "1") throw new Error("this is no graph of a privatizer that this host knows");
    const privatizer = new Privatizer();
    privatizer.key = key;
    privatizer.filter = said["privsdk.filter"];
    privatizer.shape = JSON.parse(said["privsdk.sample"]).shape;
    privatizer.size = privatizer.shape.reduce((product, length) => product * length, 1);
    const draws = JSON.parse(said["privsdk.draws"]);
    const width = (columns) => columns.reduce((sum, [, own]) => sum + own, 0);
    privatizer.widths = { normal: width(draws.normal), uniform: width(draws.uniform) };
    privatizer.session = await InferenceSession.create(graph, { logSeverityLevel: 3 });
    if (privatizer.session.inputNames.includes("private")) {
      throw new Error("this privatizer wants private labels: this host has none");
    }
    return privatizer;
  }

  /** Samples, one Buffer each, to releases; null for one that is kept back. */
  async release(samples) {
    const released = samples.map(() => null);
    for (let draw = 1; draw <= DRAWS; draw++) {
      const waiting = released.flatMap((one, row) => (one === null ? [row] : []));
      for (let start = 0; start < waiting.length; start += BATCH) {
        const rows = waiting.slice(start, start + BATCH);
        const found = await this.run(rows.map((row) => samples[row]), draw);
        rows.forEach((row, place) => (released[row] = found[place]));
      }
    }
    return released;
  }

  async run(samples, draw) {
    const count = samples.length;
    const { normal, uniform } = this.widths;
    const normals = new Float32Array(count * normal);
    const uniformNumbers = new Float32Array(count * uniform);
    samples.forEach((sample, row) => {
      const seed = hmac(this.key, `release by ${this.filter}, draw ${draw}:`, sample);
      drawRandomNumbers(
        seed,
        normals.subarray(row * normal, (row + 1) * normal),
        uniformNumbers.subarray(row * uniform, (row + 1) * uniform),
      );
    });
    const inputs = {
      samples: new Tensor("uint8", Uint8Array.from(Buffer.concat(samples)), [count, ...this.shape]),
      normal: new Tensor("float32", normals, [count, normal]),
    };
    if (uniform) inputs.uniform = new Tensor("float32", uniformNumbers, [count, uniform]);
    const outputs = await this.session.run(inputs);
    const released = Buffer.from(outputs.released.data);
    const keptBack = outputs.kept_back.data;
    return samples.map((_, row) => (keptBack[row] ? null : released.subarray(row * this.size, (row + 1) * this.size)));
  }
}

const [graph, key, input, output] = process.argv.slice(2);
if (output === undefined) {
  console.error("usage: node release.mjs privatizer.onnx key samples released");
  process.exit(1);
}
const privatizer = await Privatizer.open(readFileSync(graph), readFileSync(key));
const taken = readFileSync(input);
if (taken.length % privatizer.size) throw new Error(`${input} holds no whole number of samples`);
const samples = Array.from({ length: taken.length / privatizer.size }, (_, row) =>
  taken.subarray(row * privatizer.size, (row + 1) * privatizer.size),
);
const released = (await privatizer.release(samples)).filter((one) => one !== null);
writeFileSync(output, Buffer.concat(released), { flag: "wx" }); // never over a file that is there
console.log(`${released.length} released, ${samples.length - released.length} kept back`);
process.exitCode = released.length < samples.length ? 1 : 0;
