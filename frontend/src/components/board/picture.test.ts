import { expect, test } from "vitest";

import type { Glance } from "../../api/client";
import { expectedRows, scaleOf } from "./picture";

const variant = (top1: number[], low?: number, high?: number) =>
  ({ top1, final: low === undefined ? null : { mean: 0, low, high } }) as unknown as Glance["variants"][number];

test("points and intervals of all variants fit, in proportion", () => {
  const at = scaleOf([variant([50, 70], 40, 80), variant([90])]);
  expect([at(40), at(65), at(90)]).toEqual(["3.0%", "50.0%", "97.0%"]);
});

test("what hardly differs is drawn close together", () => {
  const at = scaleOf([variant([90, 90.2])]);
  expect([at(89.1), at(90.1), at(91.1)]).toEqual(["3.0%", "50.0%", "97.0%"]);
});

test("the place that is kept is that of the axis by which an experiment is compared", () => {
  expect(expectedRows({ seed: [0, 1, 2], lr: [1, 2] })).toBe(2);
  expect(expectedRows({ lr: [1, 2], pooling: ["a", "b", "c"] })).toBe(3);
  expect(expectedRows({ lr: [1, 2, 3, 4, 5, 6, 7, 8] })).toBe(7);
  expect(expectedRows({ seed: [0, 1] })).toBe(1);
});
