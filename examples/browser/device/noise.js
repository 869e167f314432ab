// Random choices of a release, as privsdk.noise makes them: functions of the sample and of the device's secret key.

const MASK = (1n << 64n) - 1n;
const MULTIPLIERS = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const WEYL = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];
const ROUNDS = 10;

const text = new TextEncoder();

/** HMAC-SHA256 of a purpose, a form and bytes, by `key`, a CryptoKey: 32 bytes. */
async function digest(key, purpose, form, content) {
  const parts = [purpose, form].flatMap((part) => {
    const bytes = text.encode(part);
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(bytes.length), true);
    return [length, bytes];
  });
  const message = new Uint8Array(await new Blob([...parts, content]).arrayBuffer());
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, message));
}

/** What tells a sample, uint8 with this shape, again to this key alone: 32 bytes. */
export const sampleDigest = (key, sample, shape) => digest(key, "sample", `|u1[${shape.join(", ")}]`, sample);

/** The seed, 64 bits, of a choice about the sample with this digest. */
export async function seedFor(key, sample, purpose) {
  const bytes = await digest(key, purpose, "bytes", sample);
  return new DataView(bytes.buffer).getBigUint64(0, true);
}

/** The number of the stream for a purpose. */
async function stream(purpose) {
  const bytes = await crypto.subtle.digest("SHA-256", text.encode(purpose));
  return new DataView(bytes).getBigUint64(0, true);
}

/** `count` numbers in [0, 1): Philox 4x64-10 (Salmon, Moraes, Dror, Shaw, 2011) keyed by the seed and the purpose. */
export async function uniforms(seed, count, purpose) {
  const drawn = new Float64Array(count);
  const number = await stream(purpose);
  for (let start = 0; start < count; start += 4) {
    const block = philox([BigInt(start / 4 + 1), 0n, 0n, 0n], [seed, number]);
    for (let place = 0; place < 4 && start + place < count; place++) {
      drawn[start + place] = Number(block[place] >> 11n) * 2 ** -53;
    }
  }
  return drawn;
}

/** `count` draws from N(0, 1), by Box and Muller. */
export async function normals(seed, count, purpose) {
  const pairs = Math.ceil(count / 2);
  const drawn = await uniforms(seed, 2 * pairs, purpose);
  const found = new Float32Array(2 * pairs);
  for (let pair = 0; pair < pairs; pair++) {
    const radius = Math.sqrt(-2 * Math.log1p(-drawn[pair]));
    const angle = 2 * Math.PI * drawn[pairs + pair];
    found[pair] = radius * Math.cos(angle);
    found[pairs + pair] = radius * Math.sin(angle);
  }
  return found.subarray(0, count);
}

function philox(counter, key) {
  let [a, b, c, d] = counter;
  let [one, other] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const first = a * MULTIPLIERS[0];
    const second = c * MULTIPLIERS[1];
    [a, b, c, d] = [(second >> 64n) ^ b ^ one, second & MASK, (first >> 64n) ^ d ^ other, first & MASK];
    one = (one + WEYL[0]) & MASK;
    other = (other + WEYL[1]) & MASK;
  }
  return [a, b, c, d];
}
