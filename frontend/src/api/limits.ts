/** What users may send at most; from the OpenAPI document, by `npm run types`. */
export const LIMITS = {
  name_length: 200,
  note_length: 10000,
  author_length: 60,
  tag_length: 50,
  tags: 20,
  priority: 100,
  runs_per_request: 1000,
  runs_per_page: 1000,
  seeds_per_request: 100,
  planned_seeds: 200,
  glances: 60,
  pictured_variants: 6,
  sparklines: 250,
  image_bytes: 5000000,
  log_lines: 5000,
} as const;
