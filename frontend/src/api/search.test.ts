import { expect, test } from "vitest";

import { searchFromText, textOfSearch } from "./search";

test("ranges and choices are read from text, and written as they were", () => {
  const text = "lr=0.0001..0.01 log 4\nweight_decay=0..0.1\naugmentation=crop,none";
  const search = searchFromText(text, (_, value) => value);
  expect(search).toEqual({
    lr: { low: 0.0001, high: 0.01, log: true, steps: 4 },
    weight_decay: { low: 0, high: 0.1 },
    augmentation: { choices: ["crop", "none"] },
  });
  expect(textOfSearch(search)).toBe(text);
});
