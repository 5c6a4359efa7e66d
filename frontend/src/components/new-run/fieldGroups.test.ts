import { expect, test } from "vitest";

import type { SpecField } from "../../api/spec";
import { groupsOf } from "./fieldGroups";

const field = (name: string) => ({ name }) as SpecField;

test("each field is in the form once, one that nobody has placed in the last group", () => {
  const fields = ["model", "dataset", "lr", "seed", "mixup", "brand_new"].map(field);
  const groups = groupsOf(fields);
  const names = groups.map(({ title, usual, rare }) => [
    title,
    usual.map((one) => one.name),
    rare.map((one) => one.name),
  ]);
  expect(names).toEqual([
    ["Data", ["dataset"], ["mixup"]],
    ["Model", ["model"], []],
    ["Recipe", ["lr"], []],
    ["Execution", ["seed", "brand_new"], []],
  ]);
});
