// Flows of affine couplings (privsdk.filters.couplings). The work is done by a graph that takes the weights as inputs.

import { Matrix, addProduct, solve, times } from "../matrix.js";

const ROWS = 2048;
const CONDITIONER = ["weight_1", "bias_1", "weight_2", "bias_2", "weight_3", "bias_3"];

export class Couplings {
  /** `graphs` are those of the page; `arrays` by name, each { shape [L, ...], data }; other names are passed over. */
  constructor(graphs, arrays) {
    this.graphs = graphs;
    this.names = ["rotation", ...CONDITIONER];
    this.arrays = Object.fromEntries(this.names.map((name) => [name, { ...arrays[name], dtype: "F32" }]));
    this.layers = arrays.rotation.shape[0];
  }

  /** The codes of x [N, D] given a context [N, C]. */
  forward(x, context = null) {
    return this.through("coupling_forward", [...Array(this.layers).keys()], x, context);
  }

  /** What forward makes `code` of. */
  inverse(code, context = null) {
    return this.through("coupling_inverse", [...Array(this.layers).keys()].reverse(), code, context);
  }

  async through(graph, layers, x, context) {
    const found = new Matrix(x.rows, x.columns);
    const seen = context ?? new Matrix(x.rows, 0);
    for (let start = 0; start < x.rows; start += ROWS) {
      const end = Math.min(start + ROWS, x.rows);
      const rows = (matrix) => [matrix.data.subarray(start * matrix.columns, end * matrix.columns), [end - start, matrix.columns]];
      let inputs = { x: rows(x), context: rows(seen) };
      for (const layer of layers) {
        const weights = this.names.map((name) => [name, this.layer(name, layer)]);
        const { y } = await this.graphs.run(graph, { ...inputs, ...Object.fromEntries(weights) });
        inputs = { ...inputs, x: [y.data, y.shape] };
      }
      found.data.set(inputs.x[0], start * x.columns);
    }
    return found;
  }

  layer(name, number) {
    const { data, shape } = this.arrays[name];
    const size = data.length / this.layers;
    return [data.subarray(number * size, (number + 1) * size), shape.slice(1)];
  }
}

/** The public flow g: a latent to numbers that are nearly N(0, I), and back. */
export class PublicFlow {
  constructor(graphs, arrays) {
    this.arrays = arrays;
    this.couplings = new Couplings(graphs, arrays);
    this.used = Array.from(arrays.used.data.keys()).filter((place) => arrays.used.data[place]);
    this.unused = Array.from(arrays.used.data.keys()).filter((place) => !arrays.used.data[place]);
    const size = this.used.length;
    this.whiten = new Matrix(size, size, arrays.whiten.data);
    this.colour = new Matrix(size, size, Float32Array.from(solve(this.whiten, Matrix.identity(size)).data));
  }

  /** g(z): [N, Z] to [N, U]. */
  forward(z) {
    const centred = z.only(this.used);
    centred.data.forEach((_, place, data) => (data[place] -= this.arrays.shift.data[place % centred.columns]));
    return this.couplings.forward(times(centred, this.whiten));
  }

  /** The z with g(z) = code, and `unused` [N, Z - U] in the dimensions that the encoder does not use. */
  async inverse(code, unused) {
    const inner = await this.couplings.inverse(code);
    const found = new Matrix(code.rows, this.used.length + this.unused.length);
    for (let row = 0; row < code.rows; row++) {
      const own = Float32Array.from(this.arrays.shift.data);
      addProduct(inner.row(row), this.colour, own);
      this.used.forEach((place, number) => (found.row(row)[place] = own[number]));
      this.unused.forEach((place, number) => (found.row(row)[place] = unused.row(row)[number]));
    }
    return found;
  }
}
