// What a filter is fitted on: public latents in three disjoint parts (privsdk.fitting.material).

import { Matrix } from "../matrix.js";
import { probability } from "../filters/scores.js";

/** Posteriors with the scores of their means and their labels, [N, K] each, private ones first. */
export class Part {
  constructor(mean, variance, scores, labels) {
    Object.assign(this, { mean, variance, scores, labels });
  }

  get length() {
    return this.mean.rows;
  }

  take(rows) {
    return new Part(...[this.mean, this.variance, this.scores, this.labels].map((matrix) => matrix.take(rows)));
  }

  /** One posterior sample of each row: [N, Z]. */
  drawn(random) {
    const { rows, columns, data } = this.mean;
    const drawn = data.map((value, place) => value + Math.sqrt(this.variance.data[place]) * random.normal());
    return new Matrix(rows, columns, drawn);
  }
}

/** Public latents of a bundle, split 60 : 15 : 25 to train on, to choose by and to check with. */
export function gather(bundle, scores, random) {
  const { mean, variance } = bundle.public;
  const of = scores.of(mean);
  const labels = new Matrix(of.rows, of.columns, of.data.map((score) => Number(random.uniform() < probability(score))));
  const everyone = new Part(mean, variance, of, labels);
  const order = random.permutation(mean.rows);
  const [quarter, more] = [Math.floor(mean.rows / 4), Math.floor((2 * mean.rows) / 5)];
  return {
    check: everyone.take(order.slice(0, quarter)),
    validation: everyone.take(order.slice(quarter, more)),
    train: everyone.take(order.slice(more)),
  };
}

/** The random numbers that a filter needs for so many rows of a part. */
export function draws(filter, rows, random) {
  const normals = (columns) => new Matrix(rows, columns, random.normals(rows * columns));
  const uniforms = (columns) => new Matrix(rows, columns, Float64Array.from({ length: rows * columns }, () => random.uniform()));
  return {
    posterior: normals(filter.flow.used.length + filter.flow.unused.length),
    score: normals(filter.scores.count),
    unused: normals(filter.flow.unused.length),
    fair: uniforms(filter.fairScore.tables.length),
    draw: uniforms(1),
  };
}
