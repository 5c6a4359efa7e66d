import type { Catalog, Experiment, Run } from "./client";
import { type DraftOfSearch, searchFromText, textOfSearch, USUAL_SEARCH } from "./search";

/** A hyperparameter as the spec's JSON schema declares it. */
export type SpecField = {
  name: string;
  type: "string" | "integer" | "number";
  default: string | number;
  description: string;
  enum?: string[];
  /** Values to choose from, among others. */
  examples?: string[];
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
  maxLength?: number;
};

export type Value = string | number;

/** What the form holds: values that differ from the defaults, and the fields that vary between runs. */
export type Draft = {
  name: string;
  values: Record<string, Value>;
  axes: Record<string, Value[]>;
  /** Higher is trained earlier. */
  priority: number;
  /** Variants of several fields that go together, one a line: `pooling=gem lr=0.002`, or `mine: pooling=gem lr=0.002`. */
  variants: string;
  /** What is searched for each variant before they are compared; null: nothing. */
  tune: DraftOfSearch | null;
  /** What of a plan differs from its defaults; null without a plan: then the seeds are an axis. */
  plan: Record<string, Value> | null;
};

export const specFields = (catalog: Catalog) => fieldsOf(catalog.spec_schema);

const fieldsOf = (schema: Record<string, unknown>): SpecField[] =>
  Object.entries(schema.properties as Record<string, Omit<SpecField, "name">>).map(([name, field]) => ({
    name,
    ...field,
  }));

/** The fields of a plan over these variants, the baseline among them. */
export function planFields(catalog: Catalog, variants: Value[]): SpecField[] {
  const names = variants.map(String);
  return fieldsOf(catalog.plan_schema).map((field) => {
    if (field.name !== "baseline") return field;
    const usual = names.includes(String(field.default)) ? field.default : (names[0] ?? field.default);
    return { ...field, default: usual, enum: names.length > 0 ? names : [String(usual)] };
  });
}

/** The values that a plan compares: those of the axis that varies. */
export const variantsOf = ({ axes }: Pick<Draft, "axes">): Value[] =>
  Object.entries(axes).find(([name, values]) => name !== "seed" && values.length > 1)?.[1] ?? [];

/** The fields with the defaults that the draft's recipe gives them on its dataset. */
export function fieldsOfRecipe(
  fields: SpecField[],
  catalog: Catalog,
  chosen: { recipe?: Value; dataset?: Value },
): SpecField[] {
  const recipe = catalog.recipes.find(({ name }) => name === chosen.recipe);
  const dataset = chosen.dataset ?? fields.find(({ name }) => name === "dataset")?.default;
  const given = { ...recipe?.values, ...recipe?.on[String(dataset)] } as Record<string, Value>;
  return fields.map((field) => ({ ...field, default: given[field.name] ?? field.default }));
}

/** What a field means when it is left out; the pooling is then the model's own, the augmentation the dataset's. */
export function defaultOf(field: SpecField, catalog: Catalog, spec: Run["spec"]): Value {
  if (field.name === "augmentation") {
    return catalog.datasets.find(({ name }) => name === spec.dataset)?.augmentation ?? field.default;
  }
  const model = catalog.models.find(({ name }) => name === spec.model);
  if (field.name === "pooling") return model?.pooling ?? field.default;
  return model?.own[field.name] ?? field.default;
}

/** A field's value in a run, with what its model has where it changes nothing of that. */
export function settledValue(field: SpecField, catalog: Catalog, spec: Run["spec"]): Value {
  const value = (spec as Record<string, Value>)[field.name]!;
  return value === field.default ? defaultOf(field, catalog, spec) : value;
}

/** Before the fields of a plan in the address of the form. */
const PLAN = "plan.";

/** A line of a variant, with the name that stands before its fields. */
const NAMED_LINE = /^(.+):\s+(\w+=.*)$/;

/** Variants from text, one a line. What is no field or no value is for the server to explain. */
export function variantsFromText(text: string, fields: SpecField[]): Record<string, Value>[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.map((line) => {
    const [, name, given = line.trim()] = NAMED_LINE.exec(line.trim()) ?? [];
    const values = given.split(/[\s,]+/).map((part) => {
      const [field = "", value = ""] = part.split("=", 2);
      return [field, parsed(fields, field, value)];
    });
    return { ...(name && { name }), ...Object.fromEntries(values) };
  });
}

type Variants = Pick<Experiment["variants"][number], "name" | "is_named" | "values">[];

/** A name that was made of the values is left out, for it would no longer fit them once they are changed. */
const textOfVariants = (variants: Variants) =>
  variants
    .map(({ name, is_named, values }) => {
      const fields = Object.entries(values).map(([field, value]) => `${field}=${String(value)}`);
      return (is_named ? `${name}: ` : "") + fields.join(" ");
    })
    .join("\n");

/** Text as the field's type wants it; what is no number stays as it is, for the server to explain. */
export function parseValue(field: SpecField, text: string): Value {
  return field.type === "string" || text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function parsed(fields: SpecField[], name: string, text: string): Value {
  const field = fields.find((known) => known.name === name);
  return field ? parseValue(field, text) : text;
}

/** A draft from an address: a field given several times is an axis. */
export function draftFromParams(params: URLSearchParams, fields: SpecField[]): Draft {
  const priority = Number(params.get("priority")) || 0;
  const plan = [...params].filter(([name]) => name.startsWith(PLAN));
  const draft: Draft = {
    name: params.get("name") ?? "",
    values: {},
    axes: {},
    priority,
    variants: params.get("variants") ?? "",
    tune: params.has("tune")
      ? {
          fields: params.get("tune") ?? "",
          trials: Number(params.get("trials")) || USUAL_SEARCH.trials,
          seeds: Number(params.get("seeds")) || USUAL_SEARCH.seeds,
          sampler: params.get("sampler") ?? USUAL_SEARCH.sampler,
        }
      : null,
    plan: params.has("plan") ? Object.fromEntries(plan.map(([name, text]) => [name.slice(PLAN.length), text])) : null,
  };
  for (const field of fields) {
    const found = params.getAll(field.name).map((text) => parseValue(field, text));
    if (found.length === 1) draft.values[field.name] = found[0]!;
    else if (found.length > 1) draft.axes[field.name] = found;
  }
  return draft;
}

export function paramsFromDraft({ name, values, axes, priority, plan, variants, tune }: Draft): URLSearchParams {
  const params = new URLSearchParams(name ? { name } : {});
  if (priority) params.set("priority", String(priority));
  for (const [field, value] of Object.entries(values)) if (!(field in axes)) params.append(field, String(value));
  for (const [field, axis] of Object.entries(axes)) for (const value of axis) params.append(field, String(value));
  if (variants) params.set("variants", variants);
  if (tune) {
    params.set("tune", tune.fields);
    for (const name of ["trials", "seeds", "sampler"] as const) params.set(name, String(tune[name]));
  }
  if (plan) params.set("plan", "on");
  for (const [field, value] of Object.entries(plan ?? {})) params.set(PLAN + field, String(value));
  return params;
}

/** The address of the form filled with a base spec, axes, a plan and named variants. */
export function formPath(
  spec: Record<string, unknown>,
  axes: Record<string, unknown[]> = {},
  name = "",
  plan: Draft["plan"] = null,
  variants: Variants = [],
  tune: Experiment["tune"] = null,
): string {
  const draft = {
    name,
    values: spec as Draft["values"],
    axes: axes as Draft["axes"],
    priority: 0,
    plan,
    variants: textOfVariants(variants),
    tune: tune && {
      fields: textOfSearch(tune.fields),
      trials: tune.trials ?? USUAL_SEARCH.trials,
      seeds: tune.seeds ?? USUAL_SEARCH.seeds,
      sampler: tune.sampler ?? USUAL_SEARCH.sampler,
    },
  };
  return `/board/new?${paramsFromDraft(draft)}`;
}

/** The address of the form that asks what the experiment has asked. */
export const cloned = ({ spec, axes, name, plan, variants, tune }: Experiment) =>
  formPath(spec, axes, name, plan ?? null, variants, tune);

/** What is asked of a plan: its baseline, and what differs from the defaults. */
export function planRequest(plan: Record<string, Value>, fields: SpecField[]): Record<string, Value> {
  const asked = fields.flatMap((field): [string, Value][] => {
    const value = parseValue(field, String(planValue(plan, field)));
    return field.name === "baseline" || (value !== "" && value !== field.default) ? [[field.name, value]] : [];
  });
  return Object.fromEntries(asked);
}

/** A field's value; the default if it names a variant that is no longer compared. */
export function planValue(plan: Record<string, Value>, { name, default: usual, enum: choices }: SpecField): Value {
  const given = plan[name] ?? usual;
  return choices && !choices.includes(String(given)) ? usual : given;
}

/** How many runs the draft makes at first, and the request that queues them: one run, or an experiment if fields vary. */
export function requestOf(draft: Draft, fields: SpecField[], ofPlan: SpecField[] = []) {
  const axes: Draft["axes"] = {};
  const spec: Draft["values"] = {};
  for (const { name, default: usual } of fields) {
    const axis = (draft.plan || draft.tune) && name === "seed" ? [] : (draft.axes[name] ?? []);
    const value = axis.length === 1 ? axis[0] : draft.values[name];
    if (axis.length > 1) axes[name] = axis;
    else if (value !== undefined && value !== "" && value !== usual) spec[name] = value;
  }
  const variants = draft.plan ? [] : variantsFromText(draft.variants, fields);
  const product = Object.values(axes).reduce((count, axis) => count * axis.length, Math.max(1, variants.length));
  const name =
    draft.name || [...(variants.length ? ["variants"] : []), ...Object.keys(axes)].join(" × ") || "Experiment";
  const named = variants.length ? { variants } : {};
  const experiment = { name, spec, axes, ...named, priority: draft.priority };
  if (draft.plan) {
    const plan = planRequest(draft.plan, ofPlan);
    const firstLook = plan.first_look ?? ofPlan.find((field) => field.name === "first_look")?.default;
    const planned = { ...experiment, plan };
    return { runs: product * Number(firstLook), experiment: planned, path: "/experiments" as const, body: planned };
  }
  if (draft.tune) {
    const { fields: searched, ...others } = draft.tune;
    const tuned = {
      ...experiment,
      tune: { ...others, fields: searchFromText(searched, (field, value) => parsed(fields, field, value)) },
    };
    const runs = product * draft.tune.trials;
    return { runs, experiment: tuned, path: "/experiments" as const, body: tuned };
  }
  const runs = product;
  if (runs > 1) return { runs, experiment, path: "/experiments" as const, body: experiment };
  return { runs, experiment, path: "/runs" as const, body: { ...spec, priority: draft.priority } };
}
