// Training by steps that are graphs: forward, backward and optimizer in one (privsdk.fitting.engines.by_onnx).

import { Couplings } from "../filters/couplings.js";
import { Matrix, addProduct } from "../matrix.js";

const WEIGHTS = ["weight_1", "bias_1", "weight_2", "bias_2", "weight_3", "bias_3"];
const LAYERS = [1, 2, 3];
const BATCH = 512;
const SCORE_NOISE = 0.05;

const FLOW = { couplings: 2, width: 32, steps: 400, average: 0.99, rate: 2e-3, warmUp: 0.1 };
const NETWORK = { width: 64, epochs: 30, batch: 256, patience: 4, rate: 2e-3 };

/** Weights in training, and the step that trains them. */
class Training {
  /** `weights` by name, each [data, shape]; `kept` names what the optimizer keeps of them, and an average. */
  constructor(graphs, step, weights, kept) {
    Object.assign(this, { graphs, step, taken: 0, state: { ...weights } });
    for (const part of kept) {
      for (const [name, [data, shape]] of Object.entries(weights)) {
        this.state[`${part}_${name}`] = [part === "average" ? data : new Float32Array(data.length), shape];
      }
    }
  }

  async take(rate, batch) {
    this.taken += 1;
    const numbers = { rate: [Float32Array.of(rate), []], count: [Float32Array.of(this.taken), []] };
    const found = await this.graphs.run(this.step, { ...numbers, ...batch, ...this.state });
    for (const name of Object.keys(this.state)) this.state[name] = [found[`new_${name}`].data, found[`new_${name}`].shape];
  }

  weights(part = "") {
    return Object.fromEntries(WEIGHTS.map((name) => [name, this.state[part ? `${part}_${name}` : name]]));
  }
}

/** Couplings that make normal what the affine maps have left, x [N, U], given a context [N, C]. */
export async function trainedCouplings(graphs, x, context, random, report) {
  const size = x.columns;
  const moved = Math.floor(size / 2);
  const widths = [size - moved + context.columns, FLOW.width, FLOW.width, 2 * moved];
  const weights = {};
  for (const layer of LAYERS) {
    const [inputs, outputs] = widths.slice(layer - 1, layer + 1);
    const spread = layer < 3 ? Math.sqrt(2 / inputs) : 0;
    const drawn = random.normals(FLOW.couplings * inputs * outputs).map((value) => spread * value);
    weights[`weight_${layer}`] = [drawn, [FLOW.couplings, inputs, outputs]];
    weights[`bias_${layer}`] = [new Float32Array(FLOW.couplings * outputs), [FLOW.couplings, outputs]];
  }
  const rotation = new Float32Array(FLOW.couplings * size * size);
  for (let layer = 0; layer < FLOW.couplings; layer++) rotation.set(rotated(size, random), layer * size * size);
  const training = new Training(graphs, `couplings_${FLOW.couplings}`, weights, ["first", "second", "average"]);
  for (let step = 0; step < FLOW.steps; step++) {
    const rows = Array.from({ length: BATCH }, () => random.below(x.rows));
    const shaken = context.take(rows).data.map((value) => value + SCORE_NOISE * random.normal());
    const done = step / FLOW.steps;
    const falling = (done - FLOW.warmUp) / (1 - FLOW.warmUp);
    const share =
      done < FLOW.warmUp ? 0.05 + (0.95 * done) / FLOW.warmUp : 0.001 + 0.4995 * (1 + Math.cos(Math.PI * Math.min(falling, 1)));
    await training.take(FLOW.rate * share, {
      x: [x.take(rows).data, [BATCH, size]],
      context: [shaken, [BATCH, context.columns]],
      rotation: [rotation, [FLOW.couplings, size, size]],
      kept: [Float32Array.of(Math.min(FLOW.average, (2 + step) / (11 + step))), []],
    });
    if (step % 10 === 9) report((step + 1) / FLOW.steps);
  }
  const arrays = Object.fromEntries(
    Object.entries(training.weights("average")).map(([name, [data, shape]]) => [name, { data, shape }]),
  );
  return new Couplings(graphs, { rotation: { data: rotation, shape: [FLOW.couplings, size, size] }, ...arrays });
}

/** A network with two hidden layers of ELUs for labels [N], 0 or 1, of z [N, D]; what it says of `judged`: [M]. */
export async function network(graphs, z, labels, judged, random) {
  const widths = [z.columns, NETWORK.width, NETWORK.width, 2];
  const weights = {};
  for (const layer of LAYERS) {
    const [inputs, outputs] = widths.slice(layer - 1, layer + 1);
    const drawn = random.normals(inputs * outputs).map((value) => value / Math.sqrt(inputs));
    weights[`weight_${layer}`] = [drawn, [inputs, outputs]];
    weights[`bias_${layer}`] = [new Float32Array(outputs), [outputs]];
  }
  const training = new Training(graphs, "classifier", weights, ["first", "second"]);
  const order = random.permutation(z.rows);
  const heldOut = order.slice(0, Math.floor(z.rows / 5));
  const fitted = order.slice(heldOut.length);
  const [aside, truth] = [z.take(heldOut), heldOut.map((row) => labels[row])];
  let [best, least, when] = [training.weights(), Infinity, 0];
  for (let epoch = 0; epoch < NETWORK.epochs && epoch - when < NETWORK.patience + 1; epoch++) {
    const mixed = random.permutation(fitted.length).map((place) => fitted[place]);
    const batches = Math.ceil(mixed.length / NETWORK.batch);
    for (let batch = 0; batch < batches; batch++) {
      const [from, to] = [batch, batch + 1].map((part) => Math.floor((part * mixed.length) / batches));
      const rows = mixed.slice(from, to);
      const targets = Float32Array.from(rows.flatMap((row) => [1 - labels[row], labels[row]]));
      await training.take(NETWORK.rate, {
        z: [z.take(rows).data, [rows.length, z.columns]],
        targets: [targets, [rows.length, 2]],
      });
    }
    const said = forward(training.weights(), aside);
    const loss = said.reduce((sum, value, row) => sum + Math.log1p(Math.exp(truth[row] ? -value : value)), 0);
    if (loss < least) [best, least, when] = [training.weights(), loss, epoch];
  }
  return forward(best, judged);
}

/** The log-odds of a yes, of each row. */
function forward(weights, z) {
  let found = z;
  for (const layer of LAYERS) {
    const [data, [inputs, outputs]] = weights[`weight_${layer}`];
    const matrix = new Matrix(inputs, outputs, data);
    const [bias] = weights[`bias_${layer}`];
    const after = new Matrix(found.rows, outputs);
    for (let row = 0; row < found.rows; row++) {
      const own = after.row(row);
      own.set(bias);
      addProduct(found.row(row), matrix, own);
      if (layer < 3) for (let unit = 0; unit < outputs; unit++) if (own[unit] < 0) own[unit] = Math.exp(own[unit]) - 1;
    }
    found = after;
  }
  return Float64Array.from({ length: found.rows }, (_, row) => found.row(row)[1] - found.row(row)[0]);
}

/** A random orthogonal matrix, by Gram and Schmidt, twice. */
function rotated(size, random) {
  const rows = new Matrix(size, size, Float64Array.from({ length: size * size }, () => random.normal()));
  for (let pass = 0; pass < 2; pass++) {
    for (let row = 0; row < size; row++) {
      const own = rows.row(row);
      for (let other = 0; other < row; other++) {
        const shared = own.reduce((sum, value, place) => sum + value * rows.row(other)[place], 0);
        own.forEach((_, place) => (own[place] -= shared * rows.row(other)[place]));
      }
      const length = Math.sqrt(own.reduce((sum, value) => sum + value * value, 0));
      own.forEach((_, place) => (own[place] /= length));
    }
  }
  return Float32Array.from(rows.data);
}
