import { expect, test } from "vitest";

import type { Catalog } from "./client";
import { draftFromParams, formPath, paramsFromDraft, planFields, requestOf, type SpecField, variantsOf } from "./spec";

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
    variants: "pooling=gem lr=0.002\npooling=mean",
    tune: { fields: "lr=0.0001..0.01 log\ndropout=0,0.1", trials: 8, seeds: 3, sampler: "random" },
    plan: { max_seeds: "10" },
  };
  const params = new URLSearchParams(paramsFromDraft(draft).toString());
  expect(draftFromParams(params, fields)).toEqual(draft);
});

test("a clone opens the form with what was trained", () => {
  const variants = [
    { name: "quick mean", is_named: true, values: { pooling: "mean", lr: 0.0005 } },
    { name: "gem, lr 0.002", is_named: false, values: { pooling: "gem", lr: 0.002 } },
  ];
  const path = formPath({ epochs: 8, pooling: "mean" }, { seed: [1, 2] }, "Again", null, variants);
  const params = new URL(path, "http://board").searchParams;
  expect(draftFromParams(params, fields)).toEqual({
    name: "Again",
    values: { epochs: 8, pooling: "mean" },
    axes: { seed: [1, 2] },
    priority: 0,
    variants: "quick mean: pooling=mean lr=0.0005\npooling=gem lr=0.002",
    tune: null,
    plan: null,
  });
});

test("fields that vary make an experiment of all combinations; an axis of one value does not", () => {
  const draft = {
    name: "",
    values: { epochs: 200, lr: "" },
    axes: { pooling: ["mean"], seed: [0, 1, 2] },
    priority: 5,
    variants: "",
    tune: null,
    plan: null,
  };
  expect(requestOf(draft, fields)).toMatchObject({
    runs: 3,
    path: "/experiments",
    body: { name: "seed", spec: { pooling: "mean" }, axes: { seed: [0, 1, 2] }, priority: 5 },
  });
  const variants = "my own: it: pooling=gem lr=0.002\n\npooling=mean lr=fast";
  expect(requestOf({ ...draft, axes: { seed: [0, 1] }, variants }, fields)).toMatchObject({
    runs: 4,
    body: {
      variants: [
        { name: "my own: it", pooling: "gem", lr: 0.002 },
        { pooling: "mean", lr: "fast" },
      ],
    },
  });
  const one = requestOf({ ...draft, axes: { pooling: ["mean"] } }, fields);
  expect(one).toMatchObject({ runs: 1, path: "/runs", body: { pooling: "mean", priority: 5 } });
});

const plan_schema = {
  properties: {
    baseline: { type: "string", default: "seqpool" },
    first_look: { type: "integer", default: 3 },
    max_seeds: { type: "integer", default: 20 },
  },
};

test("a plan takes the place of the seeds and names its baseline, which is one of its variants", () => {
  const draft = {
    name: "",
    values: { seed: 7 },
    axes: { pooling: ["mean", "max"], seed: [0, 1, 2] },
    priority: 0,
    variants: "",
    tune: null,
    plan: { baseline: "seqpool", max_seeds: "10", first_look: "" },
  };
  const ofPlan = planFields({ plan_schema } as unknown as Catalog, variantsOf(draft));
  expect(requestOf(draft, fields, ofPlan)).toMatchObject({
    runs: 6,
    path: "/experiments",
    body: {
      spec: { seed: 7 },
      axes: { pooling: ["mean", "max"] },
      plan: { baseline: "mean", max_seeds: 10 },
    },
  });
  const chosen = { ...draft, plan: { baseline: "max" } };
  expect(requestOf(chosen, fields, ofPlan).experiment).toMatchObject({ plan: { baseline: "max" } });
});
