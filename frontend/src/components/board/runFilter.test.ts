import { expect, test } from "vitest";

import { filterOf, sortingOf } from "./runFilter";

const of = (address: string) => filterOf(new URLSearchParams(address));

test("an address says which runs are listed", () => {
  expect(of("state=queued+running&pooling=mean&text=a+b&archived=shown")).toMatchObject({
    state: ["queued", "running"],
    pooling: "mean",
    text: "a b",
    archived: "shown",
  });
});

test("an empty value asks for runs without one, an absent one for all", () => {
  expect(of("experiment=")).toMatchObject({ experiment: "" });
  expect(Object.values(of("")).filter((value) => value !== undefined)).toEqual([]);
});

test("a minus turns the order around", () => {
  expect(sortingOf(new URLSearchParams("sort=-final_top1"))).toEqual([{ id: "final_top1", desc: true }]);
  expect(sortingOf(new URLSearchParams("sort=epoch"))).toEqual([{ id: "epoch", desc: false }]);
  expect(sortingOf(new URLSearchParams())).toEqual([]);
});
