// Writes the limits of the OpenAPI document as constants for the pages; with --check only tells whether they are current.
import { readFileSync, writeFileSync } from "node:fs";

const TARGET = "src/api/limits.ts";
const { Limits } = JSON.parse(readFileSync("openapi.json", "utf8")).components.schemas;
const lines = Object.entries(Limits.properties).map(([name, limit]) => `  ${name}: ${limit.default},\n`);
const text = `/** What users may send at most; from the OpenAPI document, by \`npm run types\`. */
export const LIMITS = {\n${lines.join("")}} as const;\n`;

if (!process.argv.includes("--check")) writeFileSync(TARGET, text);
else if (readFileSync(TARGET, "utf8") !== text) {
  console.error(`${TARGET} is out of date; run: make types`);
  process.exit(1);
}
