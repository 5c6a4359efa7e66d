import { Button, FileInput, Group, Paper, SimpleGrid, Text, Title } from "@mantine/core";
import { IconFileImport } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";

import { api, body, type Catalog, type Experiment } from "../api/client";
import { catalogQuery, experimentsQuery } from "../api/queries";
import { specFields, type Value } from "../api/spec";
import { ErrorAlert } from "../components/shared/ErrorAlert";
import { Pending } from "../components/shared/Pending";
import { SpecFieldInput } from "../components/shared/SpecFieldInput";
import { SelectExperiment } from "../components/import/SelectExperiment";
import { duration, integer, percent } from "../format";

export function ImportPage() {
  const { data: catalog, error: noCatalog } = useQuery(catalogQuery);
  const { data: experiments, error: noExperiments } = useQuery(experimentsQuery);
  return (
    <>
      <title>Import results · CCT Board</title>
      <Title order={1} mb="xs">
        Results from elsewhere
      </Title>
      <Text size="sm" mb="md" maw="80ch">
        The log of the reference’s <code>examples/main.py</code>, the <code>summary.csv</code> of a timm training, a CSV
        table with a row for each epoch, an event file of TensorBoard, or a text with a final top-1 becomes a run that
        is marked as external. It stands beside other runs in tables and figures, and enters a verdict only if you say
        so on its page.
      </Text>
      {catalog && experiments ? (
        <ImportForm catalog={catalog} experiments={experiments.experiments} />
      ) : (
        <Pending what="form" error={noCatalog ?? noExperiments} h={320} />
      )}
    </>
  );
}

const sent = (file: File) => ({
  headers: { "Content-Type": "application/octet-stream" },
  body: "", // what is sent is the file, which the API's types know as text
  bodySerializer: () => file,
});

function ImportForm({ catalog, experiments }: { catalog: Catalog; experiments: Experiment[] }) {
  const [file, setFile] = useState<File | null>(null);
  const [given, setGiven] = useState<Record<string, Value>>({});
  const [experiment, setExperiment] = useState("");
  const queries = useQueryClient();
  const navigate = useNavigate();
  const reading = useMutation({ mutationFn: (chosen: File) => body(api.POST("/results/read", sent(chosen))) });
  const importing = useMutation({
    mutationFn: ({ chosen, spec }: { chosen: File; spec: string }) => {
      const query = { spec, name: chosen.name, ...(experiment ? { experiment } : {}) };
      return body(api.POST("/results", { params: { query }, ...sent(chosen) }));
    },
    onSuccess: (run) => {
      void queries.invalidateQueries();
      void navigate(run.experiment_id ? `/board/experiments/${run.experiment_id}` : `/board/runs/${run.id}`);
    },
  });
  const found = reading.data;
  // Nothing is chosen in advance: what a file does not say is not guessed.
  const asked = specFields(catalog).filter(({ name }) => found?.asked.includes(name));
  const missing = asked.filter(({ name }) => given[name] === undefined || given[name] === "").map(({ name }) => name);
  return (
    <Paper p="md" maw={720}>
      <FileInput
        label="File"
        placeholder="Choose a log or a table"
        value={file}
        onChange={(chosen) => {
          setFile(chosen);
          importing.reset();
          reading.reset();
          if (chosen) reading.mutate(chosen);
        }}
      />
      {reading.error && <ErrorAlert title="Not read" message={reading.error.message} />}
      {file && found && (
        <>
          <Text size="sm" my="sm" role="status">
            A {found.kind}: {found.epochs ? `${integer(found.epochs)} epochs, ` : ""}final top-1{" "}
            {percent(found.final_top1)}
            {found.best_top1 == null ? "" : `, best ${percent(found.best_top1)}`}
            {found.minutes == null ? "" : `, ${duration(60 * found.minutes)}`}. What it does not say:
          </Text>
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            {asked.map((field) => (
              <SpecFieldInput
                key={field.name}
                field={{ ...field, default: given[field.name] ?? "", description: "" }}
                value={given[field.name]}
                onChange={(name, value) => setGiven({ ...given, [name]: value })}
                varies={false}
              />
            ))}
            <SelectExperiment experiments={experiments} value={experiment} onChange={setExperiment} />
          </SimpleGrid>
          <Group mt="md">
            <Button
              leftSection={<IconFileImport size={16} aria-hidden />}
              disabled={missing.length > 0}
              loading={importing.isPending}
              onClick={() => importing.mutate({ chosen: file, spec: JSON.stringify(given) })}
            >
              Import
            </Button>
            {missing.length > 0 && (
              <Text size="sm" c="dimmed">
                Still missing: {missing.join(", ")}
              </Text>
            )}
          </Group>
          {importing.error && <ErrorAlert title="Not imported" message={importing.error.message} />}
        </>
      )}
    </Paper>
  );
}
