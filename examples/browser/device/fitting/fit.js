// Learning the default filter in the page, for one person's wish (privsdk.fitting.default).

import { Matrix } from "../matrix.js";
import { Random } from "../random.js";
import { CodeFlow, ConditionalAffine, Matching, context } from "../filters/code.js";
import { FlowFilter } from "../filters/flow.js";
import { check } from "./check.js";
import { chosen } from "./fair_score.js";
import { gather } from "./material.js";
import { trainedCouplings } from "./training.js";

const DRAWS = 4;
const MATCHING = 2;
const POPULATION = 4096;

/**
 * A filter that hides the attributes `hidden` and keeps `kept`, both by their numbers in the bundle, and what fresh
 * attackers found. `report` is told a stage and how much of it is done, 0 to 1.
 */
export async function fit(bundle, hidden, kept, seed, report) {
  const attributes = [...hidden, ...kept];
  const scores = bundle.scores.only(attributes);
  const random = new Random(seed, ...attributes);
  report("latents", 0);
  const { train, validation, check: checked } = gather(bundle, scores, random);
  const code = await learnedCode(bundle, train, attributes, random, report);
  report("fair score", 0);
  const [people, others] = [train, validation].map((part) => bundle.jointScores.drawn(part.scores, attributes, random));
  const fair = chosen(people, others, hidden.length, random);
  const population = people.take([...Array(Math.min(POPULATION, people.rows)).keys()]);
  const filter = new FlowFilter(scores, bundle.flow, code, fair.score, population);
  report("check", 0);
  const names = (numbers) => numbers.map((number) => bundle.attributes[number].name);
  const gaps = hidden.map((number) => bundle.attributes[number].gap);
  const wish = { private: names(hidden), utility: names(kept), gaps };
  const found = await check(bundle.graphs, filter, checked, wish, random, (done) => report("check", done));
  return { filter, wish, found, fairness: fair.fairness };
}

/** f, learned stage by stage: a map for each label, then the couplings. */
async function learnedCode(bundle, train, attributes, random, report) {
  const drawn = [];
  for (let draw = 0; draw < DRAWS; draw++) {
    drawn.push(await bundle.flow.forward(train.drawn(random)));
    report("codes", (draw + 1) / (DRAWS + 1));
  }
  let x = stacked(drawn);
  const scores = stacked(Array(DRAWS).fill(train.scores));
  // The public flow's draws are not quite where people are: they are given the moments that people have.
  const matchings = attributes.map((attribute, column) => new Matching(scores, column, bundle.moments(attribute)));
  for (let round = 0; round < MATCHING; round++) matchings.forEach((matching) => (x = matching.matched(x)));
  const maps = attributes.map((_, column) => {
    const map = ConditionalAffine.learned(x, column, scores);
    x = map.forward(x, scores, random.normals(x.rows));
    return map;
  });
  const seen = context(scores);
  const couplings = await trainedCouplings(bundle.graphs, x, seen, random, (done) => report("flow", done));
  return new CodeFlow(maps, couplings);
}

/** Matrices one below another. */
function stacked(matrices) {
  const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, 0);
  const found = new Matrix(rows, matrices[0].columns);
  let start = 0;
  for (const { data } of matrices) {
    found.data.set(data, start);
    start += data.length;
  }
  return found;
}
