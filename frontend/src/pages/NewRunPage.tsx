import {
  Button,
  Grid,
  NumberInput,
  Paper,
  Select,
  Stack,
  Switch,
  Text,
  Textarea,
  TextInput,
  Title,
} from "@mantine/core";
import { useDebouncedCallback, useDebouncedValue } from "@mantine/hooks";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";

import { api, ApiError, body, type Catalog } from "../api/client";
import { LIMITS } from "../api/limits";
import { USUAL_SEARCH } from "../api/search";
import { catalogQuery, type ExperimentRequest, previewQuery } from "../api/queries";
import {
  draftFromParams,
  fieldsOfRecipe,
  paramsFromDraft,
  planFields,
  requestOf,
  specFields,
  variantsOf,
  type Draft,
  type Value,
} from "../api/spec";
import { ErrorAlert } from "../components/shared/ErrorAlert";
import { Pending } from "../components/shared/Pending";
import { PreviewOfRuns } from "../components/new-run/PreviewOfRuns";
import { SpecFields } from "../components/new-run/SpecFields";
import { StartingPoints } from "../components/new-run/StartingPoints";
import { TuneFields } from "../components/new-run/TuneFields";
import { ShellCommands } from "../components/new-run/ShellCommands";
import { PlanFields } from "../components/shared/PlanFields";
import { AxisInput } from "../components/shared/SpecFieldInput";
import { useArrival } from "../components/shared/urlState";
import type { QueueRequest } from "../components/shared/shellCommands";
import { plural } from "../format";

const PREVIEW_AFTER_MS = 300;

export function NewRunPage() {
  const { data: catalog, error } = useQuery(catalogQuery);
  const arrival = useArrival(); // a link, or going back, leads to another form
  return (
    <>
      <title>New run · CCT Board</title>
      <Title order={1} mb="md">
        New run
      </Title>
      {catalog && <StartingPoints catalog={catalog} />}
      {catalog ? <SpecForm key={arrival} catalog={catalog} /> : <Pending what="form" error={error} h={480} />}
    </>
  );
}

function SpecForm({ catalog }: { catalog: Catalog }) {
  const declared = useMemo(() => specFields(catalog), [catalog]);
  const [params, setParams] = useSearchParams();
  const [draft, setDraft] = useState(() => draftFromParams(params, declared));
  const { recipe, dataset } = draft.values;
  const fields = useMemo(
    () => fieldsOfRecipe(declared, catalog, { recipe, dataset }),
    [declared, catalog, recipe, dataset],
  );
  const [axisNames, setAxisNames] = useState(() => [
    ...new Set([...Object.keys(catalog.demo.axes), ...Object.keys(draft.axes)]),
  ]);
  const saveInAddress = useDebouncedCallback((next: Draft) => setParams(paramsFromDraft(next), { replace: true }), 300);
  const navigate = useNavigate();
  const ofPlan = planFields(catalog, variantsOf(draft));
  const request = requestOf(draft, fields, ofPlan);
  const submit = useMutation({
    mutationFn: () => queue(request),
    onSuccess: (path) => navigate(path),
  });
  const [asked] = useDebouncedValue(JSON.stringify(request.experiment), PREVIEW_AFTER_MS);
  const preview = useQuery(previewQuery(JSON.parse(asked) as ExperimentRequest));
  const errors = { ...fieldErrors(preview.error), ...fieldErrors(submit.error) };
  const marked =
    "variants" in errors ||
    Object.keys(errors).some((name) => name.startsWith("tune.")) ||
    [...fields, ...ofPlan].some(({ name }) => name in errors || `plan.${name}` in errors);
  const elsewhere = submit.error && !marked;

  const change = (next: Draft) => {
    submit.reset();
    setDraft(next);
    saveInAddress(next);
  };
  /** With a plan or a search the seeds are no axis: they begin at the spec's. */
  const varies = (name: string) => name in draft.axes && !((draft.plan || draft.tune) && name === "seed");
  const setAxis = (name: string, values: Value[]) => {
    const { [name]: _, ...others } = draft.axes;
    change({ ...draft, axes: values.length > 0 ? { ...others, [name]: values } : others });
  };

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        saveInAddress.flush(); // later, it would lead back here from the page of what is queued
        submit.mutate();
      }}
    >
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 8 }}>
          <Stack gap="md">
            <Paper p="md">
              <Title order={2}>What to compare</Title>
              <Text size="sm" c="dimmed" mb="sm">
                Several values of a field make an experiment: one run per combination.
              </Text>
              <Stack gap="sm">
                {axisNames.map((name) => {
                  const field = fields.find((candidate) => candidate.name === name);
                  return (
                    field &&
                    !((draft.plan || draft.tune) && name === "seed") && (
                      <AxisInput
                        key={name}
                        field={field}
                        values={draft.axes[name] ?? []}
                        onChange={(values) => setAxis(name, values)}
                        error={name in draft.axes ? errors[name] : undefined}
                      />
                    )
                  );
                })}
                <Select
                  aria-label="Vary another field"
                  placeholder="Vary another field"
                  size="xs"
                  searchable
                  data={fields.map(({ name }) => name).filter((name) => !axisNames.includes(name))}
                  value={null}
                  onChange={(name) => name && setAxisNames([...axisNames, name])}
                />
                {!draft.plan && (
                  <Textarea
                    label="Variants of several fields"
                    description="One a line, such as pooling=gem lr=0.002, or mine: pooling=gem lr=0.002 with a name: values that go together, which no combination of axes has."
                    placeholder={"pooling=gem lr=0.002\npooling=mean lr=0.0005"}
                    autosize
                    minRows={1}
                    value={draft.variants}
                    onChange={(event) => change({ ...draft, variants: event.currentTarget.value })}
                    error={errors.variants}
                  />
                )}
                {request.path === "/experiments" && (
                  <TextInput
                    label="Experiment name"
                    placeholder={request.body.name}
                    maxLength={LIMITS.name_length}
                    value={draft.name}
                    onChange={(event) => change({ ...draft, name: event.currentTarget.value })}
                    error={errors.name}
                  />
                )}
                <Switch
                  label="Tune each variant first"
                  description="Settings are searched for each variant, with as many trials each, on training data that is held out; then the best of each are trained with fresh seeds, and those are compared."
                  checked={draft.tune !== null}
                  onChange={({ currentTarget: { checked } }) =>
                    change({
                      ...draft,
                      tune: checked ? USUAL_SEARCH : null,
                      plan: checked ? null : draft.plan,
                      // Settings must not be chosen on the test set.
                      values: checked && !draft.values.val_share ? { ...draft.values, val_share: 0.1 } : draft.values,
                    })
                  }
                />
                {draft.tune && (
                  <TuneFields search={draft.tune} onChange={(tune) => change({ ...draft, tune })} errors={errors} />
                )}
                <Switch
                  label="Run until the answer is known"
                  description="A plan: seeds are queued until each variant is better, worse or alike, at an error rate that holds however often you look."
                  checked={draft.plan !== null}
                  onChange={({ currentTarget: { checked } }) =>
                    change({ ...draft, plan: checked ? {} : null, tune: checked ? null : draft.tune })
                  }
                />
                {draft.plan && (
                  <PlanFields
                    fields={ofPlan}
                    plan={draft.plan}
                    onChange={(plan) => change({ ...draft, plan })}
                    errors={errors}
                  />
                )}
              </Stack>
            </Paper>
            <SpecFields
              fields={fields}
              values={draft.values}
              onChange={(name, value) => change({ ...draft, values: withValue(draft.values, name, value, catalog) })}
              varies={varies}
              errors={errors}
            />
          </Stack>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 4 }}>
          <Stack gap="md" className="sticky">
            <Paper p="md">
              <PreviewOfRuns
                preview={preview.data}
                problem={marked ? "The marked field stands in the way." : preview.error?.message}
              />
              <NumberInput
                mt="sm"
                label="Priority"
                description="Higher is trained earlier"
                min={-LIMITS.priority}
                max={LIMITS.priority}
                allowDecimal={false}
                value={draft.priority}
                onChange={(value) => change({ ...draft, priority: Number(value) })}
              />
            </Paper>
            {elsewhere && <ErrorAlert title="Not queued" message={submit.error.message} />}
            <Button type="submit" loading={submit.isPending}>
              {draft.plan
                ? "Queue the plan"
                : request.runs === 1
                  ? "Queue run"
                  : `Queue ${plural(request.runs, "run")}`}
            </Button>
            <ShellCommands request={request} />
          </Stack>
        </Grid.Col>
      </Grid>
    </form>
  );
}

/** Another recipe fills all of its fields anew. */
function withValue(values: Draft["values"], name: string, value: Value, catalog: Catalog): Draft["values"] {
  const filled = name === "recipe" ? Object.keys(catalog.recipes[0]?.values ?? {}) : [];
  const kept = Object.entries(values).filter(([other]) => !filled.includes(other));
  return { ...Object.fromEntries(kept), [name]: value };
}

/** Queues what the form asks for and returns the address of its page. */
async function queue(request: QueueRequest): Promise<string> {
  if (request.path === "/experiments") {
    // As a run's, a plan's fields are drawn from a schema that the compiler does not know.
    const experiment = await body(api.POST("/experiments", { body: request.body as ExperimentRequest }));
    return `/board/experiments/${experiment.id}`;
  }
  // The server fills in what is left out; the form is drawn from a schema that the compiler does not know.
  const run = await body(api.POST("/runs", { body: request.body as never }));
  return `/board/runs/${run.id}`;
}

/** Messages by field; an experiment's fields come as `spec.<field>` and `axes.<field>`, a plan's keep their `plan.`, and
 * those of variants name their line. */
function fieldErrors(error: Error | null): Record<string, string> {
  if (!(error instanceof ApiError)) return {};
  return Object.fromEntries(
    error.problem.errors.map(({ field, message }) => {
      const [variants, line, of = ""] = field.split(".");
      if (variants === "variants") return ["variants", `Line ${Number(line) + 1}, ${of}: ${message}`];
      if (variants === "tune") return [`tune.${line}`, of ? `${of}: ${message}` : message];
      return [/^plan\.\w+|\w*/.exec(field.replace(/^(spec|axes)\./, ""))![0], message];
    }),
  );
}
