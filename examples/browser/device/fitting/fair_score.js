// The fair score's tables, and what each strength of it costs (privsdk.fitting.fair_score).

import { Matrix, grid, interpolated, quantiles, sorted } from "../matrix.js";
import { Basis, cells, crossed } from "../filters/basis.js";
import { FairScore, FairTable, balanced, excess } from "../filters/fair_score.js";
import { beliefs, probability } from "../filters/scores.js";

const MOST_PREVIOUS = 3;
const PREVIOUS_CELLS = 9;
const LEVELS = 129;
const ROUNDS = 6;
const SWEEPS = 8;
const HALVINGS = 16;
const LEAST_THRESHOLD = -4;
const COMMON = 4;
const HALF_STRENGTH = 0.04;
const EDGE = 1e-3;

const FAIRNESS = [0, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 1];
const UTILITY_LOST = 0.0055;

/** The fair score of the largest lambda that keeps the utility labels, by `people`, judged on `others`; and that lambda. */
export function chosen(people, others, hidden, random) {
  const blurs = [people, others].map(({ rows, columns }) =>
    Matrix.of(columns - hidden, () => Array.from({ length: columns - hidden }, () => 2 * random.uniform() - 1), rows),
  );
  const tried = (fairness) => {
    const score = fairScore(people, hidden, fairness / (fairness + HALF_STRENGTH), blurs[0]);
    const fair = score.fair(others, blurs[1]);
    const lost = score.tables.map((_, number) => {
      const wanted = others.column(hidden + number);
      return accuracy(wanted, wanted) - accuracy(fair.column(number), wanted);
    });
    return { fairness, score, lost: Math.max(...lost) };
  };
  let kept = tried(FAIRNESS[0]);
  let left = FAIRNESS.slice(1);
  while (left.length) {
    const middle = Math.floor(left.length / 2);
    const one = tried(left[middle]);
    if (one.lost <= UTILITY_LOST) {
      kept = one;
      left = left.slice(middle + 1);
    } else left = left.slice(0, middle);
  }
  return kept;
}

/** The fair score of people with `scores` [N, P + V], of a strength in 0..1; `blur` [N, V] lies in -1..1. */
export function fairScore(scores, hidden, strength, blur) {
  const believed = beliefs(scores, hidden);
  const fair = scores.only([...Array(scores.columns - hidden).keys()].map((number) => hidden + number));
  const tables = [];
  for (let column = 0; column < fair.columns; column++) {
    const earlier = [...Array(column).keys()].slice(-MOST_PREVIOUS);
    const knots = Math.floor(PREVIOUS_CELLS ** (1 / Math.max(earlier.length, 1)) + 1e-9);
    const middles = Array.from({ length: knots }, (_, knot) => (knot + 0.5) / knots);
    const previous = earlier.map((one) => Basis.about(one, fair, middles));
    const before = cells(previous, fair);
    const made = table(fair.column(column), previous, before, believed, strength);
    const moved = made.moved(fair.column(column), before, believed, blur.column(column));
    moved.forEach((value, row) => (fair.row(row)[column] = value));
    tables.push(made);
  }
  return new FairScore(hidden, tables);
}

function table(values, previous, before, believed, strength) {
  const needed = thresholds(values, before, believed, strength);
  const left = excess(values, before, believed, needed);
  const ranks = grid(LEVELS);
  const [levels, balance, everyone] = [[], [], []];
  for (const side of [0, 1]) {
    const rows = [...left.keys()].filter((row) => left[row] > 0 === (side === 1));
    const kept = [...values.keys()].filter((row) => values[row] > 0 === (side === 1));
    const own = rows.map((row) => left[row]);
    const their = Float32Array.from(rows.length ? quantiles(own, ranks) : ranks);
    const exact = rows.length ? quantiles(own, ranks) : ranks;
    let rank = own.map((value) => interpolated(value, exact, ranks));
    const [cell, belief] = [before.take(rows), believed.take(rows)];
    const weights = crossed(cell, belief);
    const steps = [];
    for (let round = 0; round < ROUNDS; round++) {
      const step = distributions(rank, weights, ranks);
      steps.push(step);
      rank = rank.map((value, row) => balanced(value, cell.row(row), belief.row(row), step));
    }
    levels.push(their);
    balance.push(steps);
    // Where nobody's score lies on a side, those who are moved there lie at its edge.
    const nobody = new Matrix(before.columns, LEVELS, new Float32Array(before.columns * LEVELS).fill(side ? EDGE : -EDGE));
    everyone.push(kept.length ? spread(kept.map((row) => values[row]), before.take(kept), ranks) : nobody);
  }
  return new FairTable(previous, needed, levels, balance, everyone);
}

/** The thresholds [R, C] at which the share of yes is, in every cell and class, so much nearer to that of the cell. */
function thresholds(values, before, believed, strength) {
  const found = new Matrix(before.columns, believed.columns, new Float32Array(before.columns * believed.columns).fill(0.5));
  if (strength === 0) return found;
  const weights = crossed(before, believed);
  const [people, own] = [0, 1].map(() => new Float64Array(weights.columns));
  const [everyone, over] = [0, 1].map(() => new Float64Array(before.columns));
  for (let row = 0; row < weights.rows; row++) {
    const yes = values[row] > 0 ? 1 : 0;
    weights.row(row).forEach((weight, cell) => {
      people[cell] += weight;
      own[cell] += yes * weight;
    });
    before.row(row).forEach((weight, cell) => {
      everyone[cell] += weight;
      over[cell] += yes * weight;
    });
  }
  const wanted = own.map((yes, cell) => {
    const of = Math.floor(cell / believed.columns);
    const all = over[of] / Math.max(everyone[of], 1e-6);
    return ((1 - strength) * yes) / Math.max(people[cell], 1e-6) + strength * all;
  });
  const likely = Float64Array.from(values, (value) => 1 / (1 + Math.exp(-value)));
  const flat = new Float64Array(weights.columns).fill(0.5);
  const order = sorted(people.map((count) => -count));
  const rowsOf = Array.from(flat, (_, cell) => [...likely.keys()].filter((row) => weights.at(row, cell) > 1e-3));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const cell of order) {
      const rows = rowsOf[cell];
      const about = rows.map((row) => weights.at(row, cell));
      const others = rows.map((row, place) => {
        const sum = weights.row(row).reduce((total, weight, one) => total + weight * flat[one], 0);
        return likely[row] - sum + about[place] * flat[cell];
      });
      let [low, high] = [LEAST_THRESHOLD, 1 - LEAST_THRESHOLD];
      for (let halving = 0; halving < HALVINGS; halving++) {
        const middle = (low + high) / 2;
        const share = about.reduce((sum, weight, place) => sum + (others[place] > weight * middle ? weight : 0), 0);
        if (share / Math.max(people[cell], 1e-6) > wanted[cell]) low = middle;
        else high = middle;
      }
      flat[cell] = (low + high) / 2;
    }
  }
  found.data.set(flat);
  return found;
}

/** The share of people below each of `ranks`, of `own` ranks [N] under each column of weights [N, B]: [B, Q]. */
function distributions(own, weights, ranks) {
  const order = sorted(own);
  const places = Float64Array.from([0, ...Array.from(order, (row) => own[row]), 1]);
  const found = new Matrix(weights.columns, ranks.length);
  for (let column = 0; column < weights.columns; column++) {
    let [sum, squares] = [0, 0];
    for (let row = 0; row < weights.rows; row++) {
      sum += weights.at(row, column);
      squares += weights.at(row, column) ** 2;
    }
    const people = sum ** 2 / Math.max(squares, 1e-9); // Kish's effective size
    const factor = people / Math.max(sum, 1e-9);
    const shared = (row) => weights.at(row, column) * factor + COMMON / Math.max(weights.rows, 1);
    const shares = new Float64Array(places.length);
    let total = 0;
    order.forEach((row, place) => {
      total += shared(row);
      shares[place + 1] = total - shared(row) / 2;
    });
    for (let place = 1; place <= order.length; place++) shares[place] /= total;
    shares[places.length - 1] = 1;
    found.row(column).set(ranks.map((rank) => interpolated(rank, places, shares)));
  }
  return found;
}

/** From the least to the greatest of `values` [N] under each column of weights [N, B]: [B, Q]. */
function spread(values, weights, ranks) {
  const order = sorted(values);
  const ordered = Float64Array.from(order, (row) => values[row]);
  const found = new Matrix(weights.columns, ranks.length);
  for (let column = 0; column < weights.columns; column++) {
    const shares = new Float64Array(order.length);
    let total = 0;
    order.forEach((row, place) => {
      const own = weights.at(row, column) + COMMON / weights.rows;
      total += own;
      shares[place] = total - own / 2;
    });
    const up = shares.map((share) => share / total);
    found.row(column).set(ranks.map((rank) => interpolated(rank, up, ordered)));
  }
  return found;
}

/** The expected accuracy of a label whose score is `wanted`, read from the sign of `said`. */
function accuracy(said, wanted) {
  const sum = said.reduce((total, value, row) => {
    const likely = probability(wanted[row]);
    return total + (value > 0 ? likely : 1 - likely);
  }, 0);
  return sum / said.length;
}
