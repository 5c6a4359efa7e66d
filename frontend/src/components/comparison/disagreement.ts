import type { Look } from "../../api/client";

/** How much variants disagree on an image: by one for each answer more than one, and within that by their weights. */
export function disagreement(looks: readonly Look[], image: number): number {
  const answers = new Set(looks.map(({ predicted }) => predicted[image]));
  let distance = 0;
  let pairs = 0;
  looks.forEach((one, position) => {
    for (const other of looks.slice(position + 1)) {
      distance += apart(one.shares[image] ?? [], other.shares[image] ?? []);
      pairs += 1;
    }
  });
  return answers.size + (pairs && distance / pairs);
}

/** The share of weight that is elsewhere, 0 to 1. Pictures with other token grids cannot be held against each other. */
function apart(one: readonly number[], other: readonly number[]): number {
  if (one.length !== other.length) return 0;
  return one.reduce((sum, share, token) => sum + Math.abs(share - other[token]!), 0) / 2;
}

/** The numbers of `count` images, those on which the variants disagree most first. */
export function mostDisputedFirst(looks: readonly Look[], count: number): number[] {
  const by = Array.from({ length: count }, (_, image) => disagreement(looks, image));
  return by.map((_, image) => image).sort((one, other) => by[other]! - by[one]! || one - other);
}
