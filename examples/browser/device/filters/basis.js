// Where the scores of a label lie: hat functions that sum to 1 (privsdk.filters.basis).

import { Matrix, below, sorted } from "../matrix.js";

const SMALL = 1e-3;

export class Basis {
  /** Piecewise linear functions of the score in `column`, one at their own knot, zero at the others. */
  constructor(column, knots) {
    this.column = column;
    this.knots = knots;
  }

  /**
   * For people with `scores`; knots lie where so many of them are below, weighted so that the label is as often believed
   * true as false.
   */
  static about(column, scores, ranks) {
    const score = scores.column(column);
    const likely = Float64Array.from(score, (value) => 1 / (1 + Math.exp(-value)));
    const sum = likely.reduce((total, value) => total + value, 0);
    const order = sorted(score);
    const up = new Float64Array(order.length);
    let total = 0;
    order.forEach((row, place) => {
      total += likely[row] / sum + (1 - likely[row]) / (order.length - sum);
      up[place] = total / 2;
    });
    const knots = Float32Array.from(ranks, (rank, number) => {
      // Where scores end, several knots may coincide.
      return score[order[Math.min(below(up, rank), order.length - 1)]] + Math.fround(SMALL * number);
    });
    return new Basis(column, knots);
  }

  /** The functions of all scores [N, K]: [N, Q]. */
  weights(scores) {
    return Matrix.of(this.knots.length, (row) => hats(scores.at(row, this.column), this.knots), scores.rows);
  }

  arrays(name) {
    return {
      [`${name}.columns`]: { dtype: "I64", shape: [1], data: BigInt64Array.of(BigInt(this.column)) },
      [`${name}.knots`]: { dtype: "F32", shape: [this.knots.length], data: this.knots },
    };
  }
}

/** One at its own knot and zero at the others. */
export function hats(score, knots) {
  const found = new Float32Array(knots.length);
  const position = Math.min(Math.max(score, knots[0]), knots[knots.length - 1]);
  let rising = 1;
  for (let knot = 0; knot < knots.length; knot++) {
    const step = knots[knot + 1] - knots[knot];
    const next = knot + 1 < knots.length ? Math.min(Math.max((position - knots[knot]) / step, 0), 1) : 0;
    found[knot] = rising - next;
    rising = next;
  }
  return found;
}

/** The products of one function of each basis, which sum to 1 too: [N, Q1 * Q2 * ...], [N, 1] of none. */
export function cells(bases, scores) {
  const ones = Matrix.of(1, () => [1], scores.rows);
  return bases.reduce((found, basis) => crossed(found, basis.weights(scores)), ones);
}

/** The products of each of `left` [N, R] with each of `right` [N, B]: [N, R * B]. */
export function crossed(left, right) {
  return Matrix.of(
    left.columns * right.columns,
    (row) => {
      const own = right.row(row);
      return Array.from(left.row(row)).flatMap((value) => Array.from(own, (other) => value * other));
    },
    left.rows,
  );
}
