// The bundle in the page: its files checked against the manifest, its graphs run one at a time by ONNX Runtime.

import { ScoreNetwork } from "./filters/scores.js";
import { PublicFlow } from "./filters/couplings.js";
import { JointScores } from "./fitting/joint_scores.js";
import { Matrix } from "./matrix.js";
import { hexadecimal, unpack } from "./safetensors.js";

const GRAPHS = {
  encoder: "bundle/encoder.onnx",
  decoder: "bundle/decoder.onnx",
  detector: "graphs/detector.onnx",
  classifier: "graphs/classifier.onnx",
  couplings_2: "graphs/couplings_2.onnx",
  coupling_forward: "graphs/coupling_forward.onnx",
  coupling_inverse: "graphs/coupling_inverse.onnx",
};
const DTYPES = new Map([[Float32Array, "float32"], [Uint8Array, "uint8"]]);

/** Graphs by name; each is loaded when it is first run. */
export class Graphs {
  /** `ort` is ONNX Runtime; `read` gives the bytes of a file of the page by its path. */
  constructor(ort, read) {
    Object.assign(this, { ort, read, sessions: {} });
  }

  /** `inputs` by name, each [data, shape]; gives the outputs by name, each { data, shape }. */
  async run(name, inputs) {
    this.sessions[name] ??= this.loaded(name);
    const session = await this.sessions[name];
    const feeds = Object.entries(inputs).map(([input, [data, shape]]) => {
      return [input, new this.ort.Tensor(DTYPES.get(data.constructor), data, shape)];
    });
    const outputs = Object.entries(await session.run(Object.fromEntries(feeds)));
    return Object.fromEntries(outputs.map(([output, tensor]) => [output, { data: tensor.data, shape: tensor.dims.slice() }]));
  }

  async loaded(name) {
    const options = { executionProviders: ["wasm"], logSeverityLevel: 4 };
    return this.ort.InferenceSession.create(new Uint8Array(await this.read(GRAPHS[name])), options);
  }
}

export class Bundle {
  /** Opens the page's bundle; throws where a file is not the one that the manifest describes. */
  static async open(ort, read) {
    const bundle = new Bundle();
    const manifest = await read("bundle/manifest.json");
    const described = JSON.parse(new TextDecoder().decode(manifest));
    bundle.digest = await sha256(manifest);
    const sum = new TextDecoder().decode(await read("bundle/manifest.sha256"));
    if (sum !== `${bundle.digest}\n`) throw new Error("manifest.json is damaged: load the page again");
    const checked = async (path) => {
      const bytes = await read(path);
      if (!path.startsWith("bundle/")) return bytes;
      const name = path.slice("bundle/".length);
      if ((await sha256(bytes)) !== described.files[name]?.sha256) throw new Error(`${name} is damaged: load the page again`);
      return bytes;
    };
    const arrays = async (part) => unpack(await checked(`bundle/${part}.safetensors`)).arrays;
    bundle.graphs = new Graphs(ort, checked);
    bundle.name = described.name;
    bundle.terms = described.terms;
    bundle.attributes = described.attributes;
    bundle.shape = described.sample.shape;
    bundle.scores = new ScoreNetwork(await arrays("scores"));
    bundle.flow = new PublicFlow(bundle.graphs, await arrays("flow"));
    bundle.moment = await arrays("moments");
    const joint = await arrays("joint_scores");
    bundle.jointScores = new JointScores(new Matrix(...joint.quantiles.shape, joint.quantiles.data), joint.shares.data);
    const { mean, log_variance: logVariance } = await arrays("public_latents");
    bundle.public = {
      mean: new Matrix(...mean.shape, mean.data),
      variance: new Matrix(...logVariance.shape, logVariance.data.map(Math.exp)),
    };
    return bundle;
  }

  /** The averages over people given one attribute's score: knots [5], means [5, U], covariances, 5 of [U, U]. */
  moments(attribute) {
    const { knots, mean, spread } = this.moment;
    const [, count, size] = mean.shape;
    const part = (data, length, number) => data.subarray(number * length, (number + 1) * length);
    return {
      knots: part(knots.data, count, attribute),
      mean: new Matrix(count, size, part(mean.data, count * size, attribute)),
      spread: Array.from({ length: count }, (_, knot) => {
        return new Matrix(size, size, part(spread.data, size * size, attribute * count + knot));
      }),
    };
  }

  /** What the encoder says of samples, uint8, one behind another: mean and variance [N, Z]. */
  async encode(samples) {
    const count = samples.length / this.shape.reduce((product, length) => product * length, 1);
    const { mean, log_variance: logVariance } = await this.graphs.run("encoder", { samples: [samples, [count, ...this.shape]] });
    return {
      mean: new Matrix(...mean.shape, mean.data),
      variance: new Matrix(...logVariance.shape, logVariance.data.map(Math.exp)),
    };
  }

  /** The samples of latents [N, Z], uint8, one behind another. */
  async decode(z) {
    const { samples } = await this.graphs.run("decoder", { latents: [z.data, [z.rows, z.columns]] });
    return samples.data;
  }
}

async function sha256(bytes) {
  return hexadecimal(await crypto.subtle.digest("SHA-256", bytes));
}
