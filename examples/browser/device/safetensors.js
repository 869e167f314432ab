// Named arrays in one file, read and written as privsdk.arrays does.

const BYTES = { F16: 2, F32: 4, U8: 1, I64: 8 };

/** The arrays in the bytes of a safetensors file, each { dtype, shape, data }; half precision comes as single. */
export function unpack(buffer) {
  const view = new DataView(buffer);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const metadata = header.__metadata__ ?? {};
  const arrays = {};
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (!(dtype in BYTES)) throw new Error(`${name} is ${dtype}, which nothing here is`);
    const bytes = buffer.slice(8 + length + offsets[0], 8 + length + offsets[1]);
    arrays[name] = { dtype, shape, data: numbers(dtype, bytes) };
  }
  return { arrays, metadata };
}

function numbers(dtype, bytes) {
  if (dtype === "F32") return new Float32Array(bytes);
  if (dtype === "I64") return new BigInt64Array(bytes);
  if (dtype === "U8") return new Uint8Array(bytes);
  return Float32Array.from(new Uint16Array(bytes), single);
}

/** A number of half precision. */
function single(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The bytes of a file with these arrays and, each entry as JSON, this metadata. */
export function pack(arrays, metadata) {
  // The widest numbers first, then by name: as the library orders them, so that all lie where their size wants it.
  const names = Object.keys(arrays).sort(
    (one, other) => BYTES[arrays[other].dtype] - BYTES[arrays[one].dtype] || (one < other ? -1 : 1),
  );
  const described = [`"__metadata__":{${Object.entries(metadata)
    .map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(asJson(value))}`)
    .join(",")}}`];
  let end = 0;
  for (const name of names) {
    const { dtype, shape, data } = arrays[name];
    described.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${end},${end + data.byteLength}]}`,
    );
    end += data.byteLength;
  }
  let header = new TextEncoder().encode(`{${described.join(",")}}`);
  const padded = new Uint8Array(Math.ceil(header.length / 8) * 8).fill(32);
  padded.set(header);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(padded.length), true);
  return new Blob([length, padded, ...names.map((name) => arrays[name].data)]);
}

/** SHA-256 over JSON with sorted names, then over every array, in hexadecimal: what a privatizer is told by. */
export async function digest(arrays, content) {
  const dtypes = { F32: "<f4", U8: "|u1", I64: "<i8" };
  const parts = [asJson(content, true)];
  for (const name of Object.keys(arrays).sort()) {
    const { dtype, shape, data } = arrays[name];
    parts.push(`${name} ${dtypes[dtype]} (${shape.length === 1 ? `${shape},` : shape.join(", ")})`, data);
  }
  return hexadecimal(await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer()));
}

export function hexadecimal(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A number that Python has as a float. */
export class Real {
  /** `value`, brought to four decimals, so that JavaScript and Python write it alike. */
  constructor(value) {
    this.value = Math.round(value * 1e4) / 1e4;
  }
}

/** JSON as Python writes it. */
function asJson(value, sortNames = false) {
  if (value instanceof Real) return Number.isInteger(value.value) ? `${value.value}.0` : `${value.value}`;
  if (Array.isArray(value)) return `[${value.map((one) => asJson(one, sortNames)).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value);
    if (sortNames) entries.sort(([one], [other]) => (one < other ? -1 : 1));
    return `{${entries.map(([name, one]) => `${asJson(name)}: ${asJson(one, sortNames)}`).join(", ")}}`;
  }
  if (typeof value === "string") {
    return JSON.stringify(value).replace(/[\u0080-\uffff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
  }
  return JSON.stringify(value);
}
