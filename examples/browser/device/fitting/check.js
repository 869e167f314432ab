// What freshly trained attackers find in a filter's releases (privsdk.fitting.check).

import { Matrix, solve, sorted, weightedSquare } from "../matrix.js";
import { draws } from "./material.js";
import { network } from "./training.js";

const ROWS = 6000;
const DECAY = 1e-3;
const MOST_STEPS = 12;
const SETTLED = 1e-4;
const MOST_IN_CODE = 0.62;

/**
 * Releases latents of `part`; each attacker judges half of them by the other, both ways.
 *
 * Gives, by label: of private ones how well the strongest attacker tells them, of utility ones how often they are named
 * rightly, and of unfiltered latents too. Throws where a private label can be read in the code.
 */
export async function check(graphs, filter, part, wish, random, report) {
  const checked = part.take([...Array(Math.min(part.length, ROWS)).keys()]);
  const drawn = draws(filter, checked.length, random);
  const { z: released, code: codes } = await filter.perturbed(checked.mean, checked.variance, drawn);
  const unfiltered = checked.drawn(random);
  if (![released, codes].every(({ data }) => data.every(Number.isFinite))) {
    throw new Error("the filter gives numbers that are not finite: fit it once more");
  }
  const total = 2 * wish.private.length + 2 * wish.utility.length;
  let done = 0;
  const seek = async (z, label, readers) => {
    const labels = checked.labels.column(label);
    const findings = [];
    for (const reader of readers) findings.push(await judged(graphs, reader, z, labels, random));
    report((done += 1) / total);
    return findings;
  };
  const found = { latents: checked.length, private: {}, utility: {}, code: {} };
  for (const [label, name] of wish.private.entries()) {
    const findings = await seek(released, label, ["logistic", "mlp", "mlp standardised"]);
    const strongest = findings.reduce((one, other) => (other.leakage > one.leakage ? other : one));
    const yes = checked.labels.column(label).reduce((sum, value) => sum + value, 0);
    const [count, no] = [checked.length, checked.length - yes];
    const error = Math.sqrt((count + 1) / (12 * Math.max(yes, 1) * Math.max(no, 1)));
    const base = Math.max(yes, no) / count;
    found.private[name] = { ...strongest, standard_error: error, base_rate: base, gap: wish.gaps[label] };
    const code = Math.max(...(await seek(codes, label, ["logistic", "mlp standardised"])).map((one) => one.leakage));
    found.code[name] = code;
    if (code > MOST_IN_CODE + 2 * error) {
      throw new Error(`the fit failed its own check: ${name} can be read in the code (AUROC ${code.toFixed(3)}). Try again`);
    }
  }
  for (const [number, name] of wish.utility.entries()) {
    const label = wish.private.length + number;
    const [after, before] = [await seek(released, label, readers), await seek(unfiltered, label, readers)].map((all) =>
      Math.max(...all.map((one) => one.accuracy)),
    );
    found.utility[name] = { accuracy: after, accuracy_unfiltered: before, lost: before - after };
  }
  return found;
}

const readers = ["logistic", "mlp standardised"];

async function judged(graphs, reader, z, labels, random) {
  const [areas, right] = [[], [0, 0]];
  const count = [0, 0];
  for (const fold of [0, 1]) {
    const rows = (wanted) => [...Array(z.rows).keys()].filter((row) => row % 2 === wanted);
    const [known, others] = [rows(1 - fold), rows(fold)];
    let [train, judge] = [z.take(known), z.take(others)];
    const own = known.map((row) => labels[row]);
    if (reader !== "mlp") [train, judge] = standardised(train, judge);
    const said = reader === "logistic" ? logistic(train, own, judge) : await network(graphs, train, own, judge, random);
    if (!said.every(Number.isFinite)) throw new Error("an attacker came to no end, so nothing is known of the filter: fit it once more");
    const truth = others.map((row) => labels[row]);
    areas.push(auroc(said, truth));
    said.forEach((value, place) => {
      count[truth[place]] += 1;
      right[truth[place]] += value > 0 === (truth[place] === 1);
    });
  }
  const area = (areas[0] + areas[1]) / 2;
  return {
    leakage: Math.max(area, 1 - area),
    strongest: reader,
    accuracy: (right[0] + right[1]) / z.rows,
    balanced_accuracy: (right[0] / Math.max(count[0], 1) + right[1] / Math.max(count[1], 1)) / 2,
  };
}

/** Logistic regression by Newton's method; the log-odds of `judge` [M, D]. */
function logistic(z, labels, judge) {
  const size = z.columns + 1;
  const x = Matrix.of(size, (row) => [...z.row(row), 1], z.rows);
  const weights = new Float64Array(size);
  const steep = new Float64Array(x.rows);
  let moved = Infinity;
  for (let step = 0; step < MOST_STEPS && moved > SETTLED; step++) {
    const gradient = new Matrix(size, 1, new Float64Array(size));
    for (let number = 0; number < x.rows; number++) {
      const row = x.row(number);
      let sum = 0;
      for (let place = 0; place < size; place++) sum += row[place] * weights[place];
      const likely = 1 / (1 + Math.exp(-Math.min(Math.max(sum, -30), 30)));
      const missing = likely - labels[number];
      steep[number] = likely * (1 - likely);
      for (let place = 0; place < size; place++) gradient.data[place] += row[place] * missing;
    }
    const curvature = weightedSquare(x, steep);
    for (let place = 0; place < size; place++) {
      const penalty = place < size - 1 ? 2 * DECAY * x.rows : 1e-6;
      gradient.data[place] += penalty * weights[place];
      curvature.data[place * size + place] += penalty;
    }
    const change = solve(curvature, gradient).data;
    change.forEach((value, place) => (weights[place] -= value));
    moved = Math.max(...change.map(Math.abs));
  }
  return Float64Array.from({ length: judge.rows }, (_, number) =>
    judge.row(number).reduce((total, value, place) => total + value * weights[place], weights[size - 1]),
  );
}

/** Both, with mean 0 and spread 1 in each dimension of `z`. */
function standardised(z, judge) {
  const [mean, spread] = [new Float64Array(z.columns), new Float64Array(z.columns)];
  for (let row = 0; row < z.rows; row++) z.row(row).forEach((value, place) => (mean[place] += value / z.rows));
  for (let row = 0; row < z.rows; row++) {
    z.row(row).forEach((value, place) => (spread[place] += (value - mean[place]) ** 2 / z.rows));
  }
  return [z, judge].map(({ rows, columns, data }) => {
    const scaled = data.map((value, place) => {
      const column = place % columns;
      return (value - mean[column]) / Math.max(Math.sqrt(spread[column]), 1e-6);
    });
    return new Matrix(rows, columns, scaled);
  });
}

/** The probability that a positive is ranked above a negative, ties counted half (Mann and Whitney). */
export function auroc(said, labels) {
  const order = sorted(said);
  const positives = labels.reduce((sum, label) => sum + label, 0);
  if (positives === 0 || positives === labels.length) return 0.5;
  let above = 0;
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && said[order[end]] === said[order[start]]) end += 1;
    for (let place = start; place < end; place++) above += labels[order[place]] * ((start + end + 1) / 2);
    start = end;
  }
  return (above - (positives * (positives + 1)) / 2) / (positives * (labels.length - positives));
}
