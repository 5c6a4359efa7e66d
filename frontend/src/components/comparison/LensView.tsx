import { Group, Paper, Select, Slider, Switch, Table, Text, Title } from "@mantine/core";
import { queryOptions, useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import { api, body, type Comparison, inColor } from "../../api/client";
import { catalogQuery, type Selection } from "../../api/queries";
import { DropZone, OwnImageButton, OwnImageRows, OwnImageStatus, useOwnImage } from "./OwnImage";
import { IMAGE_PIXELS, Seen } from "./Seen";
import { useUrlParam } from "../shared/urlState";

const lensQuery = (selection: Selection) =>
  queryOptions({
    queryKey: ["figure", selection, "lens"],
    queryFn: () => body(api.GET("/lens", { params: { query: selection } })),
  });

/** For the same test images, side by side over poolings: which tokens count, what is predicted; epoch and seed in the address. */
export function LensView({ selection, comparison }: { selection: Selection; comparison: Comparison }) {
  const { data: lens } = useQuery(lensQuery(selection));
  const { data: catalog } = useQuery(catalogQuery);
  const [epochParam, setEpoch] = useUrlParam("lens_epoch");
  const [seedParam, setSeed] = useUrlParam("lens_seed");
  const [disputed, setDisputed] = useUrlParam("lens_disputed");
  const own = useOwnImage(selection);
  const looked = lens?.runs.filter((run) => run.looks.length > 0) ?? [];
  if (!lens || looked.length === 0) return null;

  const dataset = looked[0]!.dataset;
  const ofDataset = looked.filter((run) => run.dataset === dataset);
  const seeds = [...new Set(ofDataset.map((run) => run.seed))].sort((a, b) => a - b);
  const seed = seeds.find((value) => String(value) === seedParam) ?? seeds[0]!;
  const runs = ofDataset.filter((run) => run.seed === seed);
  const epochs = [...new Set(runs.flatMap((run) => run.looks.map((look) => look.epoch)))].sort((a, b) => a - b);
  const epoch = epochs.find((value) => String(value) === epochParam) ?? epochs.at(-1)!;
  const shown = runs.map((run) => ({ run, look: run.looks.findLast((look) => look.epoch <= epoch) }));
  const images = (lens.images[dataset] ?? [])
    .map((image, number) => ({ ...image, number }))
    .filter(({ number }) => !disputed || new Set(shown.map(({ look }) => look?.predicted[number])).size > 1);
  const classNames = lens.class_names[dataset] ?? [];
  const colorOf = (pooling: string) => {
    const color = catalog?.poolings.find(({ name }) => name === pooling)?.color;
    return color ? inColor(color) : "#888888";
  };

  return (
    <section aria-labelledby="lens">
      <Group justify="space-between" mt="xl" mb="sm" gap="sm">
        <Title order={2} id="lens">
          What the pooling looks at
        </Title>
        <Group gap="md">
          <OwnImageButton {...own} />
          <Switch
            size="xs"
            label="Only images on which variants disagree"
            checked={disputed !== null}
            onChange={(event) => setDisputed(event.currentTarget.checked ? "1" : null)}
          />
          <Select
            size="xs"
            w={110}
            aria-label="Seed of the lens"
            data={seeds.map((value) => ({ value: String(value), label: `seed ${value}` }))}
            value={String(seed)}
            onChange={setSeed}
            allowDeselect={false}
          />
        </Group>
      </Group>
      <Paper p="md">
        <DropZone {...own}>
          <Text size="sm" c="dimmed" mb="sm">
            Bright tokens count most towards the prediction. A pooling without weights is shown as what it amounts to,
            the class token by its attention. Below each image: the prediction and its probability. Drop an image here
            to see what the runs make of it.
          </Text>
          <OwnImageStatus {...own} />
          {epochs.length > 1 && (
            <Slider
              thumbLabel="Epoch of the lens"
              mx="sm"
              mb="xl"
              min={0}
              max={epochs.length - 1}
              value={epochs.indexOf(epoch)}
              onChange={(position) => setEpoch(String(epochs[position]))}
              label={(position) => `epoch ${epochs[position]}`}
              marks={epochs.map((value, position) => ({ value: position, label: value }))}
            />
          )}
          <Table.ScrollContainer minWidth={0} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
            <Table withRowBorders={false} w="auto">
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>image</Table.Th>
                  {shown.map(({ run, look }) => (
                    <Table.Th key={run.run_id} miw={IMAGE_PIXELS + 16}>
                      <Link
                        to={`/board/runs/${run.run_id}`}
                        style={{ borderBottom: `3px solid ${colorOf(run.pooling)}` }}
                      >
                        {run.pooling}
                      </Link>
                      <Text size="xs" fw={400}>
                        {besidePooling(comparison, run.run_id)}
                      </Text>
                      <Text size="xs" c="dimmed" fw={400}>
                        {look
                          ? `${look.epoch ? `epoch ${look.epoch}` : "evaluation"}, entropy ${mean(look.entropy).toFixed(2)}`
                          : "not yet"}
                      </Text>
                    </Table.Th>
                  ))}
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {own.image && <OwnImageRows image={own.image} runs={runs} classNames={classNames} dataset={dataset} />}
                {images.map(({ url, label, number }) => (
                  <Table.Tr key={number}>
                    <Table.Td>
                      <img
                        src={url}
                        width={IMAGE_PIXELS}
                        height={IMAGE_PIXELS}
                        alt={`test sample of class ${classNames[label] ?? label}`}
                      />
                      <Text size="xs" ta="center" w={IMAGE_PIXELS} lineClamp={3}>
                        class {classNames[label] ?? label}
                      </Text>
                    </Table.Td>
                    {shown.map(({ run, look }) => (
                      <Table.Td key={run.run_id}>
                        {look && <Seen url={url} label={label} look={look} number={number} classNames={classNames} />}
                      </Table.Td>
                    ))}
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
          {images.length === 0 && <Text size="sm">The variants agree on all images in this epoch.</Text>}
        </DropZone>
      </Paper>
    </section>
  );
}

/** What tells the run from another of the same pooling: its variant, if that is not the pooling, and its level. */
function besidePooling({ factors, variants }: Comparison, runId: string): string {
  for (const { variant, levels } of variants) {
    const here = levels.find(({ runs }) => runs.includes(runId));
    if (here) return [factors.join() === "pooling" ? "" : variant, here.level].filter(Boolean).join(", ");
  }
  return "";
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
