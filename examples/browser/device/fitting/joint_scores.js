// How the scores of people go together, two at a time (privsdk.filters.joint_scores).

import { Matrix, below, grid, interpolated } from "../matrix.js";

const BINS = 24;
const LEVELS = 8 * BINS + 1;
const ROUNDS = 20;
const LARGEST_WEIGHT = 20;

export class JointScores {
  /** `quantiles` [A, 193]; `shares` of each pair of attributes, 24 x 24, one behind another. */
  constructor(quantiles, shares) {
    this.quantiles = quantiles;
    this.shares = shares;
  }

  /**
   * As many rows as `scores` [N, K], which stand for these attributes, that go together two at a time as people do: by
   * iterative proportional fitting over all pairs.
   */
  drawn(scores, attributes, random) {
    const quantiles = this.quantiles.take(attributes);
    const edges = attributes.map((_, place) => quantiles.row(place).filter((_, at) => at % 8 === 0).slice(1, -1));
    const cells = Matrix.of(
      attributes.length,
      (row) => scores.row(row).map((score, place) => below(edges[place], score)),
      scores.rows,
    );
    const weights = this.weights(cells, attributes);
    const up = new Float64Array(weights.length);
    weights.reduce((sum, weight, row) => (up[row] = sum + weight), 0);
    const levels = grid(LEVELS);
    return Matrix.of(
      attributes.length,
      () => {
        const chosen = below(up, random.uniform() * up[up.length - 1]);
        const cell = cells.row(Math.min(chosen, cells.rows - 1));
        return cell.map((bin, place) => interpolated((bin + random.uniform()) / BINS, levels, quantiles.row(place)));
      },
      scores.rows,
    );
  }

  /** How often each row of cells [N, K] is to be drawn. */
  weights(cells, attributes) {
    const weights = new Float64Array(cells.rows).fill(1 / cells.rows);
    for (let round = 0; round < ROUNDS; round++) {
      for (let one = 0; one < attributes.length; one++) {
        for (let other = one + 1; other < attributes.length; other++) {
          const wanted = this.pair(attributes[one], attributes[other]);
          const found = new Float64Array(BINS * BINS);
          const cell = (row) => cells.at(row, one) * BINS + cells.at(row, other);
          for (let row = 0; row < cells.rows; row++) found[cell(row)] += weights[row];
          for (let row = 0; row < cells.rows; row++) {
            weights[row] *= (wanted(cell(row)) / BINS ** 2 + 1e-9) / Math.max(found[cell(row)], 1e-12);
          }
        }
      }
    }
    const most = (LARGEST_WEIGHT * weights.reduce((sum, weight) => sum + weight, 0)) / weights.length;
    return weights.map((weight) => Math.min(weight, most));
  }

  /** The share of people in a cell of these two attributes, over what it would be if they were independent. */
  pair(one, other) {
    if (one > other) {
      const turned = this.pair(other, one);
      return (cell) => turned((cell % BINS) * BINS + Math.floor(cell / BINS));
    }
    const count = this.quantiles.rows;
    const number = one * count - (one * (one + 1)) / 2 + other - one - 1;
    return (cell) => this.shares[number * BINS * BINS + cell];
  }
}
