// The fair utility score t: the utility score, less what it tells of the private labels (privsdk.filters.fair_score).

import { grid, interpolated } from "../matrix.js";
import { cells } from "./basis.js";
import { beliefs } from "./scores.js";

const BLUR = 0.05;
const LEAST_NEEDED = 1e-3;
const LEAST_WEIGHT = 1e-4;

/** How one utility score is moved. */
export class FairTable {
  /**
   * `previous` are the bases of the fair scores made before it, with R cells; there are C classes. `needed` is [R, C];
   * of each side of zero `levels` are Q numbers, `balance` S matrices [R * C, Q], and `everyone` a matrix [R, Q].
   */
  constructor(previous, needed, levels, balance, everyone) {
    Object.assign(this, { previous, needed, levels, balance, everyone });
  }

  /** t for utility scores of people in cells [N, R], of classes [N, C], and numbers in -1..1 that blur their ranks. */
  moved(values, previous, believed, blur) {
    const ranks = grid(this.levels[0].length);
    const left = excess(values, previous, believed, this.needed);
    return Float32Array.from(values, (_, row) => {
      const side = left[row] > 0 ? 1 : 0;
      let rank = interpolated(left[row], this.levels[side], ranks);
      const [cell, belief] = [previous.row(row), believed.row(row)];
      for (const table of this.balance[side]) rank = balanced(rank, cell, belief, table);
      rank = Math.abs(rank + BLUR * blur[row]);
      rank = Math.min(Math.max(rank > 1 ? 2 - rank : rank, 0), 1);
      const position = rank * (ranks.length - 1);
      const below = Math.min(Math.floor(position), ranks.length - 2);
      let [low, high] = [0, 0];
      cell.forEach((weight, place) => {
        low += weight * this.everyone[side].at(place, below);
        high += weight * this.everyone[side].row(place)[below + 1];
      });
      return low + (position - below) * (high - low);
    });
  }
}

export class FairScore {
  /** The first `hidden` scores are those of private labels; `tables` has one for each of the others. */
  constructor(hidden, tables) {
    Object.assign(this, { hidden, tables });
  }

  /** t for scores [N, P + V], private ones first, and numbers in -1..1 [N, V]: [N, V]. */
  fair(scores, blur) {
    const believed = beliefs(scores, this.hidden);
    const found = scores.only(this.tables.map((_, number) => this.hidden + number));
    this.tables.forEach((table, number) => {
      const previous = cells(table.previous, found);
      const moved = table.moved(found.column(number), previous, believed, blur.column(number));
      moved.forEach((value, row) => (found.row(row)[number] = value));
    });
    return found;
  }

  arrays() {
    const numbers = (values) => ({
      dtype: "I64", shape: [values.length], data: BigInt64Array.from(values, (value) => BigInt(value)),
    });
    const found = {
      sizes: numbers(Array(this.hidden).fill(1)),
      previous: numbers(this.tables.map((table) => table.previous.length)),
    };
    this.tables.forEach((table, number) => {
      const [rows, classes] = [table.needed.rows, table.needed.columns];
      const levels = table.levels[0].length;
      const joined = (parts) => Float32Array.from(parts.flatMap((part) => Array.from(part)));
      const of = (shape, data) => ({ dtype: "F32", shape, data });
      const balance = joined(table.balance.flat().map((matrix) => matrix.data));
      found[`${number}.needed`] = of([rows, classes], Float32Array.from(table.needed.data));
      found[`${number}.levels`] = of([2, levels], joined(table.levels));
      found[`${number}.balance`] = of([2, table.balance[0].length, rows, classes, levels], balance);
      found[`${number}.everyone`] = of([2, rows, levels], joined(table.everyone.map((matrix) => matrix.data)));
      table.previous.forEach((basis, place) => Object.assign(found, basis.arrays(`${number}.previous.${place}`)));
    });
    return found;
  }
}

/** The log-odds of the utility label, less those that are needed for a yes. */
export function excess(values, previous, believed, needed) {
  return Float64Array.from(values, (value, row) => {
    let likely = 0;
    previous.row(row).forEach((weight, cell) => {
      believed.row(row).forEach((belief, one) => (likely += weight * belief * needed.at(cell, one)));
    });
    likely = Math.min(Math.max(likely, LEAST_NEEDED), 1 - LEAST_NEEDED);
    return value - Math.log(likely / (1 - likely));
  });
}

/** A rank by the rows of `table` [R * C, Q], each with the weight of its cell times that of its class. */
export function balanced(rank, cell, belief, table) {
  const last = table.columns - 1;
  const position = rank * last;
  const below = Math.min(Math.floor(position), last - 1);
  let found = 0;
  for (let place = 0; place < cell.length; place++) {
    for (let one = 0; one < belief.length; one++) {
      const weight = Math.fround(cell[place] * belief[one]);
      if (weight <= LEAST_WEIGHT) continue;
      const start = (place * belief.length + one) * table.columns + below;
      found += weight * (table.data[start] + (position - below) * (table.data[start + 1] - table.data[start]));
    }
  }
  return Math.min(Math.max(found, 0), 1);
}
