// The code e = f(g(z); s): what is left of a latent when its scores have been taken out (privsdk.filters.code).

import { Matrix, addProduct, eigen, power, solve, times, weightedSquare } from "../matrix.js";
import { Basis } from "./basis.js";
import { clipped, probability } from "./scores.js";

export const QUANTILES = [0.02, 0.2, 0.5, 0.8, 0.98];
const SMALL = 1e-3;
const CONTEXT_SCALE = 4;
const PRIOR = 4;
const LEAST_VARIANCE = 0.05;
const RARE = 0.05;

/** A mean and a linear map that depend on the score of one label, and noise where the score itself was. */
export class ConditionalAffine {
  /** `mean` [Q, U], `whiten` Q matrices [U, U], `along` [U]. */
  constructor(basis, mean, whiten, along) {
    Object.assign(this, { basis, mean, whiten, along });
  }

  /** The map for the label in `column` of `scores`, of people with x [N, U]. */
  static learned(x, column, scores) {
    const basis = Basis.about(column, scores, QUANTILES);
    const weights = basis.weights(scores);
    const { mean, spread } = moments(x, weights);
    const size = x.columns;
    const average = averaged(spread);
    const whiten = spread.map((own, knot) => {
      const shown = weights.column(knot).reduce((sum, value) => sum + value, 0);
      const shared = (PRIOR * size) / (PRIOR * size + shown);
      return single(power(mixed(own, average, shared), -0.5, LEAST_VARIANCE));
    });
    const apart = mean.row(QUANTILES.length - 1).map((value, place) => value - mean.row(0)[place]);
    const along = new Float32Array(size);
    addProduct(apart, averaged(whiten), along);
    const length = Math.max(Math.sqrt(along.reduce((sum, value) => sum + value * value, 0)), SMALL);
    return new ConditionalAffine(basis, mean, whiten, along.map((value) => value / length));
  }

  /** x [N, U], all scores [N, K] and a normal number of each row to the code [N, U]. */
  forward(x, scores, fresh) {
    const found = mapped(x, this.basis.weights(scores), this.mean, this.whiten);
    for (let row = 0; row < x.rows; row++) {
      const code = found.row(row);
      let there = 0;
      for (let place = 0; place < code.length; place++) there += code[place] * this.along[place];
      for (let place = 0; place < code.length; place++) code[place] += (fresh[row] - there) * this.along[place];
    }
    return found;
  }

  /** An x with this code and, nearly, these scores. */
  inverse(code, scores) {
    const about = this.basis.weights(scores);
    const found = new Matrix(code.rows, code.columns);
    for (let row = 0; row < code.rows; row++) {
      const own = about.row(row);
      // The score lies between this knot and the next.
      const knot = Math.min(own.findIndex((weight) => weight > 0), own.length - 2);
      const { into, back, stretch } = this.between(knot);
      const turned = new Float64Array(code.columns);
      addProduct(code.row(row), back, turned);
      for (let place = 0; place < turned.length; place++) turned[place] /= 1 + own[knot + 1] * stretch[place];
      const x = new Float64Array(code.columns);
      addProduct(turned, into, x);
      addProduct(own, this.mean, x);
      found.row(row).set(x);
    }
    return found;
  }

  /**
   * What inverts the mixtures of the maps M at a knot and N at the next without solving a system for each row: with
   * T = M^(-1/2), T N T = V diag(v) V' and P = V' T, ((1 - t) M + t N)^-1 = P' diag(1 / (1 + t (v - 1))) P.
   */
  between(knot) {
    this.inverses ??= [];
    if (!this.inverses[knot]) {
      const [here, next] = [this.whiten[knot], this.whiten[knot + 1]].map(({ rows, columns, data }) => {
        return new Matrix(rows, columns, Float64Array.from(data));
      });
      const root = power(here, -0.5, 0);
      const { values, vectors } = eigen(times(times(root, next), root));
      const into = times(vectors.transposed(), root);
      this.inverses[knot] = { into, back: into.transposed(), stretch: values.map((value) => value - 1) };
    }
    return this.inverses[knot];
  }

  arrays(name) {
    const [knots, size] = [this.mean.rows, this.mean.columns];
    const whiten = new Float32Array(knots * size * size);
    this.whiten.forEach((map, knot) => whiten.set(map.data, knot * size * size));
    return {
      ...this.basis.arrays(name),
      [`${name}.mean`]: { dtype: "F32", shape: [knots, size], data: this.mean.data },
      [`${name}.whiten`]: { dtype: "F32", shape: [knots, size, size], data: whiten },
      [`${name}.along`]: { dtype: "F32", shape: [size], data: this.along },
    };
  }
}

/** f: a map for each label in turn, then couplings that see all scores. */
export class CodeFlow {
  constructor(affine, couplings) {
    Object.assign(this, { affine, couplings });
  }

  /** The code of x = g(z) [N, U], given all scores [N, K] and a normal number for each label [N, L]. */
  async forward(x, scores, fresh) {
    const found = this.affine.reduce((left, map, label) => map.forward(left, scores, fresh.column(label)), x);
    return this.couplings.forward(found, context(scores));
  }

  /** An x with this code and, nearly, these scores. */
  async inverse(code, scores) {
    const x = await this.couplings.inverse(code, context(scores));
    return this.affine.reduceRight((left, map) => map.inverse(left, scores), x);
  }

  arrays() {
    const own = this.affine.map((map, label) => map.arrays(`affine.${label}`));
    const labels = { dtype: "I64", shape: [1], data: BigInt64Array.of(BigInt(this.affine.length)) };
    return Object.assign({ labels }, ...own, this.couplings.arrays);
  }
}

/** The scores as couplings see them. */
export function context(scores) {
  return new Matrix(scores.rows, scores.columns, scores.data.map((value) => clipped(value) / CONTEXT_SCALE));
}

/** The mean and covariance that people have, given the score of one attribute, and x of strangers brought to them. */
export class Matching {
  /** Of strangers' `scores` [N, K] and a bundle's averages over people of the attribute in `column`. */
  constructor(scores, column, { knots, mean, spread }) {
    this.weights = new Basis(column, knots).weights(scores);
    this.mean = mean;
    const likely = scores.column(column).reduce((sum, value) => sum + probability(value), 0) / scores.rows;
    const rarest = Math.min(likely, 1 - likely);
    const shared = RARE ** 2 / (RARE ** 2 + rarest ** 2);
    const average = averaged(spread);
    this.roots = spread.map((own) => power(mixed(own, average, shared), 0.5, LEAST_VARIANCE));
  }

  /** x [N, U] of those strangers with people's mean and covariance. */
  matched(x) {
    const { mean, spread } = moments(x, this.weights);
    const maps = this.roots.map((root, knot) => single(times(power(spread[knot], -0.5, LEAST_VARIANCE), root)));
    const found = mapped(x, this.weights, mean, maps);
    for (let row = 0; row < x.rows; row++) addProduct(this.weights.row(row), this.mean, found.row(row));
    return found;
  }
}

/** x [N, U] less a mean, by a map, both mixed of Q with `weights` [N, Q]: [N, U]. */
function mapped(x, weights, mean, maps) {
  const found = new Matrix(x.rows, x.columns);
  const centred = new Float32Array(x.columns);
  for (let row = 0; row < x.rows; row++) {
    centred.set(x.row(row));
    addProduct(weights.row(row), mean, centred, -1);
    for (let knot = 0; knot < maps.length; knot++) {
      if (weights.at(row, knot) !== 0) addProduct(centred, maps[knot], found.row(row), weights.at(row, knot));
    }
  }
  return found;
}

/** The mean [Q, U] and the covariances, Q of [U, U], of x [N, U] given what `weights` [N, Q] are of. */
export function moments(x, weights) {
  const [size, knots] = [x.columns, weights.columns];
  const gram = new Matrix(knots, knots, new Float64Array(knots * knots));
  const sums = new Matrix(knots, size, new Float64Array(knots * size));
  for (let row = 0; row < x.rows; row++) {
    for (let knot = 0; knot < knots; knot++) {
      const weight = weights.at(row, knot);
      if (weight === 0) continue;
      for (let other = 0; other < knots; other++) gram.data[knot * knots + other] += weight * weights.at(row, other);
      for (let place = 0; place < size; place++) sums.data[knot * size + place] += weight * x.at(row, place);
    }
  }
  for (let knot = 0; knot < knots; knot++) gram.data[knot * knots + knot] += SMALL;
  const mean = single(solve(gram, sums));
  const left = new Matrix(x.rows, size, Float32Array.from(x.data));
  for (let row = 0; row < x.rows; row++) addProduct(weights.row(row), mean, left.row(row), -1);
  const products = new Matrix(knots, size * size, new Float64Array(knots * size * size));
  for (let knot = 0; knot < knots; knot++) products.row(knot).set(weightedSquare(left, weights.column(knot)).data);
  const spread = solve(gram, products);
  const covariances = Array.from({ length: knots }, (_, knot) => new Matrix(size, size, spread.row(knot).slice()));
  return { mean, spread: covariances };
}

/** The mean of some matrices, in their precision. */
function averaged(matrices) {
  const found = new Matrix(matrices[0].rows, matrices[0].columns, new matrices[0].data.constructor(matrices[0].data.length));
  for (const { data } of matrices) data.forEach((value, place) => (found.data[place] += value / matrices.length));
  return found;
}

/** (1 - share) of one matrix and share of another, in double precision. */
function mixed(one, other, share) {
  const data = Float64Array.from(one.data, (value, place) => (1 - share) * value + share * other.data[place]);
  return new Matrix(one.rows, one.columns, data);
}

/** The same in single precision. */
function single(matrix) {
  return new Matrix(matrix.rows, matrix.columns, Float32Array.from(matrix.data));
}
