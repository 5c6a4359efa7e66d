// Writes the limits of the OpenAPI document as constants for the pages; with --check only tells whether they are current.
import { readFileSync, writeFileSync } from "node:fs";

const TARGET = "src/api/limits.ts";
const limits = Object.entries(JSON.parse(readFileSync("openapi.json", "utf8"))["x-limits"]);
const lines = limits.map(([name, value]) => `  ${name}: ${value},\n`).join("");
const text = `/** What users may send at most; from the OpenAPI document, by \`npm run types\`. */
export const LIMITS = {\n${lines}} as const;\n`;

if (!process.argv.includes("--check")) writeFileSync(TARGET, text);
else if (readFileSync(TARGET, "utf8") !== text) {
  console.error(`${TARGET} is out of date; run: make types`);
  process.exit(1);
}
