import { expect, test } from "vitest";

import { draftFromParams, formPath, paramsFromDraft, requestOf, type SpecField } from "./spec";

const fields: SpecField[] = [
  { name: "pooling", type: "string", default: "seqpool", description: "" },
  { name: "epochs", type: "integer", default: 200, description: "" },
  { name: "lr", type: "number", default: 0.0005, description: "" },
  { name: "seed", type: "integer", default: 0, description: "" },
];

test("what the form holds survives the way through its address", () => {
  const draft = {
    name: "50 % & more",
    values: { lr: 0.001 },
    axes: { pooling: ["mean", "max"], seed: [0, 1] },
    priority: -3,
  };
  const params = new URLSearchParams(paramsFromDraft(draft).toString());
  expect(draftFromParams(params, fields)).toEqual(draft);
});

test("a clone opens the form with what was trained", () => {
  const path = formPath({ epochs: 8, pooling: "mean" }, { seed: [1, 2] }, "Again");
  const params = new URL(path, "http://board").searchParams;
  expect(draftFromParams(params, fields)).toEqual({
    name: "Again",
    values: { epochs: 8, pooling: "mean" },
    axes: { seed: [1, 2] },
    priority: 0,
  });
});

test("fields that vary make an experiment of all combinations; an axis of one value does not", () => {
  const draft = {
    name: "",
    values: { epochs: 200, lr: "" },
    axes: { pooling: ["mean"], seed: [0, 1, 2] },
    priority: 5,
  };
  expect(requestOf(draft, fields)).toMatchObject({
    runs: 3,
    path: "/experiments",
    body: { name: "seed", spec: { pooling: "mean" }, axes: { seed: [0, 1, 2] }, priority: 5 },
  });
  const one = requestOf({ ...draft, axes: { pooling: ["mean"] } }, fields);
  expect(one).toMatchObject({ runs: 1, path: "/runs", body: { pooling: "mean", priority: 5 } });
});
