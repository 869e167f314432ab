// Parts of the page's fit, given what Python gives them: one JSON in, one out.

import { readFileSync } from "node:fs";

const { ConditionalAffine, Matching } = await import("../../examples/browser/device/filters/code.js");
const { auroc } = await import("../../examples/browser/device/fitting/check.js");
const { fairScore } = await import("../../examples/browser/device/fitting/fair_score.js");
const { JointScores } = await import("../../examples/browser/device/fitting/joint_scores.js");
const { Matrix } = await import("../../examples/browser/device/matrix.js");
const { normals, sampleDigest, seedFor, uniforms } = await import("../../examples/browser/device/noise.js");

const given = JSON.parse(readFileSync(0));
const matrix = (rows) => new Matrix(rows.length, rows[0].length, Float32Array.from(rows.flat()));
const rows = (found) => Array.from({ length: found.rows }, (_, row) => Array.from(found.row(row)));

const [x, scores, people] = [given.x, given.scores, given.people].map(matrix);
const map = ConditionalAffine.learned(x, 1, scores);
const forward = map.forward(x, scores, given.fresh);
const averages = {
  knots: Float32Array.from(given.knots),
  mean: matrix(given.mean),
  spread: given.spread.map(matrix),
};
const fair = fairScore(people, given.hidden, given.strength, matrix(given.blur));
const joint = new JointScores(matrix(given.quantiles), Float32Array.from(given.shares));

const raw = Uint8Array.from({ length: 32 }, (_, byte) => byte);
const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
const seed = await seedFor(key, await sampleDigest(key, Uint8Array.from(given.sample), [2, 3]), "a purpose");

console.log(
  JSON.stringify({
    forward: rows(forward),
    inverse: rows(map.inverse(forward, scores)),
    matched: rows(new Matching(scores, 0, averages).matched(x)),
    fair: rows(fair.fair(people, matrix(given.blur))),
    weights: Array.from(joint.weights(matrix(given.cells), given.attributes)),
    auroc: auroc(Float64Array.from(given.said), given.labels),
    seed: String(seed),
    uniforms: Array.from(await uniforms(seed, 7, "one")),
    normals: Array.from(await normals(seed, 5, "other")),
  }),
);
