import { expect, test } from "vitest";

import type { Look } from "../../api/client";
import { disagreement, mostDisputedFirst } from "./disagreement";

const look = (predicted: number[], shares: number[][]) => ({ predicted, shares }) as Look;
const FLAT = [0.5, 0.5];
const LEFT = [1, 0];

test("another answer counts more than any weights, weights order what has the same answers", () => {
  const looks = [look([1, 1, 1], [FLAT, FLAT, LEFT]), look([1, 2, 1], [FLAT, FLAT, [0, 1]])];
  expect(mostDisputedFirst(looks, 3)).toEqual([1, 2, 0]);
  expect([0, 1, 2].map((image) => disagreement(looks, image))).toEqual([1, 2, 2]);
});

test("of one variant, and of grids that differ, only answers count", () => {
  expect(disagreement([look([1], [LEFT])], 0)).toBe(1);
  expect(disagreement([look([1], [LEFT]), look([1], [[0.2, 0.2, 0.6]])], 0)).toBe(1);
  expect(mostDisputedFirst([], 2)).toEqual([0, 1]);
});
