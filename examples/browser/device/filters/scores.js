// Scores: what a latent says of each label, as calibrated log-odds (privsdk.filters.scores), and the steps that bring a
// latent to the scores that are wanted (privsdk.filters.newton).

import { Matrix, addProduct, solve } from "../matrix.js";

const BOUND = 12;
const STEPS = 12;
const TOLERANCE = 1e-3;
const STRIDE = 4;
const RIDGE = 1e-6;

/** A linear map plus one hidden layer of ELUs: (x S + ELU(x H + h) O + o) / T with x = (z - shift) / scale. */
export class ScoreNetwork {
  /** `arrays` are those of a bundle's or a privatizer's scores, by name, each { shape, data }. */
  constructor(arrays) {
    this.arrays = arrays;
    const [size, units] = arrays.hidden.shape;
    this.hidden = new Matrix(size, units, arrays.hidden.data);
    this.back = this.hidden.transposed();
    this.count = arrays.temperature.shape[0];
    const calibrated = (name, rows) => {
      const found = new Matrix(rows, this.count);
      found.data.forEach((_, place, data) => {
        data[place] = arrays[name].data[place] / arrays.temperature.data[place % this.count];
      });
      return found;
    };
    this.skip = calibrated("skip", size);
    this.out = calibrated("out", units);
    this.outBias = calibrated("out_bias", 1).data;
  }

  /** The log-odds of latents [N, Z], within +-12: [N, A]. */
  of(z) {
    return Matrix.of(this.count, (row) => this.scored(z.row(row)).scores.map(clipped), z.rows);
  }

  /** The log-odds of one latent, and what the hidden layer was. */
  scored(z) {
    const { shift, inverse_scale: inverseScale, hidden_bias: bias } = this.arrays;
    const x = new Float32Array(z.length);
    for (let place = 0; place < z.length; place++) x[place] = (z[place] - shift.data[place]) * inverseScale.data[place];
    const before = new Float32Array(bias.data);
    addProduct(x, this.hidden, before);
    const after = new Float32Array(before.length);
    for (let unit = 0; unit < after.length; unit++) after[unit] = before[unit] > 0 ? before[unit] : Math.exp(before[unit]) - 1;
    const scores = Float32Array.from(this.outBias);
    addProduct(x, this.skip, scores);
    addProduct(after, this.out, scores);
    return { scores, before, after };
  }

  /** How the log-odds change with one latent: [A, Z], in double precision. */
  gradient({ before, after }) {
    const { rows: units, columns: size } = this.back;
    const found = new Matrix(this.count, size, new Float64Array(this.count * size));
    const paths = new Float32Array(units);
    for (let label = 0; label < this.count; label++) {
      for (let unit = 0; unit < units; unit++) {
        paths[unit] = (before[unit] > 0 ? 1 : after[unit] + 1) * this.out.at(unit, label);
      }
      const own = found.row(label);
      addProduct(paths, this.back, own);
      for (let place = 0; place < size; place++) {
        own[place] = (own[place] + this.skip.at(place, label)) * this.arrays.inverse_scale.data[place];
      }
    }
    return found;
  }

  /** Moves latents [N, Z] as little as possible until their scores are `target` [N, A], by Gauss-Newton steps. */
  onto(z, target) {
    for (let row = 0; row < z.rows; row++) this.moveOnto(z.row(row), target.row(row));
  }

  moveOnto(z, target) {
    for (let step = 0; step < STEPS; step++) {
      const found = this.scored(z);
      const missing = target.map((value, label) => value - found.scores[label]);
      if (missing.every((value) => Math.abs(value) <= TOLERANCE)) return;
      const gradient = this.gradient(found);
      const gram = new Matrix(this.count, this.count, new Float64Array(this.count ** 2));
      let trace = 0;
      for (let one = 0; one < this.count; one++) {
        for (let other = 0; other < this.count; other++) {
          let sum = 0;
          for (let place = 0; place < z.length; place++) sum += gradient.at(one, place) * gradient.at(other, place);
          gram.data[one * this.count + other] = sum;
        }
        trace += gram.data[one * this.count + one];
      }
      for (let one = 0; one < this.count; one++) gram.data[one * this.count + one] += RIDGE * trace;
      const weights = solve(gram, new Matrix(this.count, 1, Float64Array.from(missing)));
      const way = new Float64Array(z.length);
      for (let label = 0; label < this.count; label++) {
        gradient.row(label).forEach((value, place) => (way[place] += weights.data[label] * value));
      }
      const length = Math.sqrt(way.reduce((sum, value) => sum + value * value, 0));
      const shorter = Math.min(1, STRIDE / Math.max(length, 1e-12));
      for (let place = 0; place < z.length; place++) z[place] += Math.fround(way[place] * shorter);
    }
  }

  /** The network of some of the labels alone. */
  only(labels) {
    const { arrays } = this;
    const chosen = (name) => {
      const rows = arrays[name].shape.length === 1 ? 1 : arrays[name].shape[0];
      const { data } = new Matrix(rows, this.count, arrays[name].data).only(labels);
      return { ...arrays[name], shape: [...arrays[name].shape.slice(0, -1), labels.length], data };
    };
    const own = Object.fromEntries(["skip", "out", "out_bias", "temperature"].map((name) => [name, chosen(name)]));
    return new ScoreNetwork({ ...arrays, ...own });
  }
}

/** A score within +-12: beyond that a log-odds says no more. */
export function clipped(score) {
  return Math.min(Math.max(score, -BOUND), BOUND);
}

/** How likely a label is true, of its score. */
export function probability(score) {
  return Math.fround(0.5 + 0.5 * Math.tanh(0.5 * score));
}

/** How likely each combination of yes and no to the first `labels` scores is, taken as independent: [N, 2 ** labels]. */
export function beliefs(scores, labels) {
  return Matrix.of(
    2 ** labels,
    (row) => {
      let found = [1];
      for (let label = 0; label < labels; label++) {
        const likely = probability(scores.at(row, label));
        found = found.flatMap((value) => [value * Math.fround(1 - likely), value * likely]);
      }
      return found;
    },
    scores.rows,
  );
}
