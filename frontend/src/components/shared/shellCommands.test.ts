import { expect, test } from "vitest";

import { curlCommand, type QueueRequest, submitCommand } from "./shellCommands";

const HOME = "http://localhost:8000";
const one = (spec: Record<string, string | number>) =>
  ({ runs: 1, experiment: { name: "", spec, axes: {}, priority: 0 }, path: "/runs", body: spec }) as QueueRequest;

test("the board is named unless it is where cctboard looks by itself", () => {
  const request = one({ epochs: 8 });
  expect(submitCommand(request, HOME)).toBe("cctboard submit epochs=8");
  expect(submitCommand(request, "http://127.0.0.1:8000")).toBe("cctboard submit epochs=8");
  expect(submitCommand(request, "https://gpu.example.org/cct")).toBe(
    "CCTBOARD_URL=https://gpu.example.org/cct cctboard submit epochs=8",
  );
  expect(submitCommand(request, "http://[::1]:8110")).toBe("CCTBOARD_URL='http://[::1]:8110' cctboard submit epochs=8");
});

test("text that looks like a number stays text, and a comma cannot be said", () => {
  expect(submitCommand(one({ image_folder: "2024" }), HOME)).toBe(`cctboard submit 'image_folder="2024"'`);
  expect(submitCommand(one({ image_folder: "birds/2024" }), HOME)).toContain(" image_folder=birds/2024");
  expect(submitCommand(one({ image_folder: "a,b" }), HOME)).toBeNull();
});

test("curl sends the token where the board asks for one", () => {
  expect(curlCommand(HOME, "/runs", {}, true)).toBe(
    `curl -X POST ${HOME}/runs -H "Authorization: Bearer $CCTBOARD_TOKEN" -d '{}'`,
  );
});

test("a plan is given as JSON, which may have any value", () => {
  const experiment = {
    name: "P",
    spec: {},
    axes: { pooling: ["a", "b"] },
    priority: 0,
    plan: { baseline: "a", alpha: 0.1 },
  };
  const request: QueueRequest = { runs: 6, experiment, path: "/experiments", body: experiment };
  expect(submitCommand(request, HOME)).toBe(
    `cctboard submit --name=P '--plan={"baseline":"a","alpha":0.1}' pooling=a,b`,
  );
  expect(curlCommand(HOME, request.path, request.body, false)).toContain('"plan":{"baseline":"a","alpha":0.1}');
});
