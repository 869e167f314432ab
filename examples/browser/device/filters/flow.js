// The default filter: Gaussianise, take the scores out, put others in (privsdk.filters.flow).

import { Matrix } from "../matrix.js";

const NEIGHBOURS = 64;

export class FlowFilter {
  /**
   * `scores` of the wish's labels, private ones first; `flow` g; `code` f; `fairScore`; and `population` [M, K], scores
   * that go together as people's do.
   */
  constructor(scores, flow, code, fairScore, population) {
    Object.assign(this, { scores, flow, code, fairScore, population });
  }

  /**
   * Perturbed latents z of posteriors with mean and variance [N, Z], and the codes [N, U] that they were made of.
   *
   * `draws` are random numbers of each row: `posterior` [N, Z], `score` [N, K] and `unused` from N(0, 1), `fair` [N, V]
   * and `draw` [N, 1] in [0, 1).
   */
  async perturbed(mean, variance, draws) {
    const scores = this.scores.of(mean);
    const drawn = mean.data.map((value, place) => value + Math.sqrt(variance.data[place]) * draws.posterior.data[place]);
    const inner = await this.flow.forward(new Matrix(mean.rows, mean.columns, drawn));
    const code = await this.code.forward(inner, scores, draws.score);
    const target = this.targets(scores, draws);
    const z = await this.flow.inverse(await this.code.inverse(code, target), draws.unused);
    this.scores.onto(z, target);
    return { z, code };
  }

  /** The scores that the release shall have, borrowed private ones first. */
  targets(scores, draws) {
    const { hidden } = this.fairScore;
    const blur = new Matrix(draws.fair.rows, draws.fair.columns, Float32Array.from(draws.fair.data, (one) => 2 * one - 1));
    const fair = this.fairScore.fair(scores, blur);
    const known = this.population.only([...Array(fair.columns).keys()].map((number) => hidden + number));
    return Matrix.of(
      scores.columns,
      (row) => {
        const places = nearest(known, fair.row(row));
        const start = draws.draw.data[row] * known.rows;
        const behind = places.map((place) => (place - start + known.rows) % known.rows);
        const first = places[behind.indexOf(Math.min(...behind))];
        return [...this.population.row(first).subarray(0, hidden), ...fair.row(row)];
      },
      scores.rows,
    );
  }

  arrays() {
    const found = {
      population: { dtype: "F32", shape: [this.population.rows, this.population.columns], data: this.population.data },
    };
    const parts = {
      scores: this.scores.arrays,
      flow: { ...this.flow.arrays, ...this.flow.couplings.arrays },
      code: this.code.arrays(),
      fair_score: this.fairScore.arrays(),
    };
    for (const [part, arrays] of Object.entries(parts)) {
      for (const [name, array] of Object.entries(arrays)) found[`${part}.${name}`] = array;
    }
    return found;
  }
}

/** The 64 rows of `known` nearest to `wanted`; of rows that are as near the first. */
function nearest(known, wanted) {
  const apart = new Float32Array(known.rows);
  for (let row = 0; row < known.rows; row++) {
    const start = row * known.columns;
    let sum = 0;
    for (let place = 0; place < known.columns; place++) sum += Math.fround((wanted[place] - known.data[start + place]) ** 2);
    apart[row] = sum;
  }
  // The least of them, in order.
  const least = new Float32Array(Math.min(NEIGHBOURS, known.rows)).fill(Infinity);
  const last = least.length - 1;
  for (const one of apart) {
    if (one >= least[last]) continue;
    let place = last;
    for (; place > 0 && least[place - 1] > one; place--) least[place] = least[place - 1];
    least[place] = one;
  }
  const farthest = least[last];
  const found = [];
  let room = least.length - least.findIndex((one) => one === farthest);
  for (let row = 0; row < known.rows; row++) {
    if (apart[row] < farthest || (apart[row] === farthest && room-- > 0)) found.push(row);
  }
  return found;
}
