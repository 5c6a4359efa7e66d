import { ActionIcon, Group, Paper, Select, Slider, Switch, Text, Title } from "@mantine/core";
import { IconPlayerPause, IconPlayerPlay } from "@tabler/icons-react";
import { queryOptions, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "react-router";

import { api, body, type Comparison, inColor } from "../../api/client";
import type { Selection } from "../../api/queries";
import { mostDisputedFirst } from "./disagreement";
import { ImagesSeen } from "./ImagesSeen";
import { DropZone, OwnImageButton, OwnImageStatus, useOwnImage } from "./OwnImage";
import type { Sample, Shown } from "./Seen";
import { TextsSeen } from "./TextsSeen";
import { useUrlParam } from "../shared/urlState";

const EPOCH_SHOWN_MS = 700;

const lensQuery = (selection: Selection) =>
  queryOptions({
    queryKey: ["figure", selection, "lens"],
    queryFn: () => body(api.GET("/lens", { params: { query: selection } })),
  });

/** Which tokens count and what is predicted: variants below each other, the same test images side by side, those on
 * which the variants disagree most first; epoch and seed in the address. */
export function LensView({ selection, comparison }: { selection: Selection; comparison: Comparison }) {
  const { data: lens } = useQuery(lensQuery(selection));
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
  const shown: Shown[] = runs.map((run) => ({ run, look: run.looks.findLast((look) => look.epoch <= epoch) }));
  const pictures = lens.images[dataset] ?? [];
  // By the newest epoch, whichever is shown: nothing changes its place while epochs go by.
  const order = mostDisputedFirst(
    runs.map(({ looks }) => looks.at(-1)!),
    pictures.length,
  );
  const samples: Sample[] = order
    .map((number) => ({ ...pictures[number]!, number }))
    .filter(({ number }) => !disputed || new Set(shown.map(({ look }) => look?.predicted[number])).size > 1);
  const classNames = lens.class_names[dataset] ?? [];
  const areTexts = pictures.some(({ words }) => words.length > 0);
  const name = (one: Shown) => <RunName comparison={comparison} {...one} />;

  return (
    <section aria-labelledby="lens">
      <Group justify="space-between" mt="xl" mb="sm" gap="sm">
        <Title order={2} id="lens">
          What the pooling looks at
        </Title>
        <Group gap="md">
          {!areTexts && <OwnImageButton {...own} />}
          <Switch
            size="xs"
            label={`Only ${areTexts ? "texts" : "images"} on which variants disagree`}
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
            {areTexts
              ? "Marked words count most towards the prediction, which stands beside them with its probability. What a token counts is shared by the words that it sees."
              : "Bright tokens count most towards the prediction, which stands below each image with its probability. A click enlarges it; drop an image here to see what the runs make of it."}{" "}
            A pooling without weights is shown as what it amounts to, the class token by its attention.
          </Text>
          <OwnImageStatus {...own} />
          {epochs.length > 1 && (
            <Epochs epochs={epochs} epoch={epoch} onChange={(chosen) => setEpoch(String(chosen))} />
          )}
          {areTexts ? (
            <TextsSeen texts={samples} {...{ shown, classNames, name }} />
          ) : (
            <ImagesSeen images={samples} own={own.image} {...{ shown, classNames, name, dataset, epoch }} />
          )}
          {samples.length === 0 && <Text size="sm">The variants agree on all of them in this epoch.</Text>}
        </DropZone>
      </Paper>
    </section>
  );
}

type EpochsProps = { epochs: number[]; epoch: number; onChange: (epoch: number) => void };

/** A slider over the epochs that were looked at, and a button that shows one after the other. */
function Epochs({ epochs, epoch, onChange }: EpochsProps) {
  const [isPlaying, setPlaying] = useState(false);
  const position = epochs.indexOf(epoch);
  const next = epochs[position + 1];
  // biome-ignore lint/correctness/useExhaustiveDependencies: the next step is due when this one is shown
  useEffect(() => {
    if (!isPlaying) return;
    if (next === undefined) return setPlaying(false);
    const timer = setTimeout(() => onChange(next), EPOCH_SHOWN_MS);
    return () => clearTimeout(timer);
  }, [isPlaying, next]);
  const play = () => {
    if (!isPlaying && next === undefined) onChange(epochs[0]!);
    setPlaying(!isPlaying);
  };
  return (
    <Group wrap="nowrap" gap="lg" mb="xl" mr="sm">
      <ActionIcon variant="default" aria-label={isPlaying ? "Stop" : "Play the epochs"} onClick={play}>
        {isPlaying ? <IconPlayerPause size={16} aria-hidden /> : <IconPlayerPlay size={16} aria-hidden />}
      </ActionIcon>
      <Slider
        thumbLabel="Epoch of the lens"
        flex={1}
        maw="40rem"
        min={0}
        max={epochs.length - 1}
        value={position}
        onChange={(chosen) => onChange(epochs[chosen]!)}
        label={(chosen) => `epoch ${epochs[chosen]}`}
        marks={epochs.map((value, place) => ({ value: place, label: value }))}
      />
    </Group>
  );
}

/** What tells the run from the others of its seed, in the colour of its variant. */
function RunName({ comparison, run, look }: { comparison: Comparison } & Shown) {
  const { factors, variants } = comparison;
  const variant = variants.find(({ levels }) => levels.some(({ runs }) => runs.includes(run.run_id)));
  const level = variant?.levels.find(({ runs }) => runs.includes(run.run_id))?.level;
  const beside = [factors.join() === "pooling" ? "" : variant?.variant, level].filter(Boolean).join(", ");
  return (
    <>
      <Link
        to={`/board/runs/${run.run_id}`}
        style={{ borderBottom: `3px solid ${variant ? inColor(variant.color) : "transparent"}` }}
      >
        {run.pooling}
      </Link>
      {beside && (
        <Text size="xs" fw={400}>
          {beside}
        </Text>
      )}
      <Text size="xs" c="dimmed" fw={400}>
        {look
          ? `${look.epoch ? `epoch ${look.epoch}` : "evaluation"}, entropy ${mean(look.entropy).toFixed(2)}`
          : "not yet"}
      </Text>
    </>
  );
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
