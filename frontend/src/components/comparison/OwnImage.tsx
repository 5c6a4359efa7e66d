import { Button, CloseButton, Code, FileButton, Group, Loader, Table, Text } from "@mantine/core";
import { IconPhotoUp } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type DragEvent, type ReactNode } from "react";

import { api, body, type OwnImage } from "../../api/client";
import { LIMITS } from "../../api/limits";
import { ownImageQuery, workersQuery, type Selection } from "../../api/queries";
import { IMAGE_PIXELS, Seen } from "./Seen";
import { useUrlParam } from "../shared/urlState";

const TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const DONE = "Your image is in the first two columns, with each run’s last and best checkpoint.";
const CHECKPOINTS = { last: "last epoch", best: "best epoch" } as const;

/** The image that the user shows to the runs; which one is in the address, for as long as the board keeps it. */
export function useOwnImage(selection: Selection) {
  const [id, setId] = useUrlParam("lens_image");
  const queries = useQueryClient();
  const sending = useMutation({
    mutationFn: async (file: File) => {
      if (!TYPES.includes(file.type)) throw new Error(`${file.name} is not a PNG, JPEG, WebP or GIF file.`);
      if (file.size > LIMITS.image_bytes)
        throw new Error(`${file.name} is larger than ${LIMITS.image_bytes / 1e6} MB; make it smaller first.`);
      const sent = api.POST("/lens/images", {
        params: { query: selection },
        headers: { "Content-Type": "application/octet-stream" },
        body: "", // what is sent is the file, which the API's types know as text
        bodySerializer: () => file,
      });
      return body(sent);
    },
    onSuccess: (image) => {
      queries.setQueryData(ownImageQuery(image.id).queryKey, image);
      setId(image.id);
    },
  });
  const { data, error } = useQuery({ ...ownImageQuery(id ?? ""), enabled: id !== null });
  const forget = () => {
    sending.reset();
    setId(null);
  };
  return { image: id === null ? undefined : data, error: sending.error ?? error, show: sending.mutate, forget };
}

type State = ReturnType<typeof useOwnImage>;

export function OwnImageButton({ show }: Pick<State, "show">) {
  return (
    <FileButton accept={TYPES.join(",")} onChange={(file) => file && show(file)}>
      {(props) => (
        <Button {...props} size="xs" variant="default" leftSection={<IconPhotoUp size={14} />}>
          Show an image of your own
        </Button>
      )}
    </FileButton>
  );
}

/** Takes an image that is dropped on what is inside. */
export function DropZone({ show, children }: Pick<State, "show"> & { children: ReactNode }) {
  const [over, setOver] = useState(false);
  const withFile = (handle: (event: DragEvent) => void) => (event: DragEvent) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    handle(event);
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dropping needs a pointer; the button does the same by keyboard
    <div
      onDragOver={withFile(() => setOver(true))}
      onDragLeave={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(false);
      }}
      onDrop={withFile((event) => {
        setOver(false);
        const file = event.dataTransfer.files[0];
        if (file) show(file);
      })}
      style={over ? { outline: "2px dashed var(--active)", outlineOffset: "0.5rem" } : undefined}
    >
      {children}
    </div>
  );
}

/** What there is to tell of the image beside what runs say of it. */
export function OwnImageStatus({ image, error, forget }: State) {
  const { data: workers } = useQuery(workersQuery);
  const why = error?.message ?? image?.error;
  if (!image && !why) return null;
  const waiting = (
    <>
      <Loader size={14} aria-hidden /> A worker is about to look at your image.
    </>
  );
  const noWorker = (
    <>
      No worker is connected, so nobody looks at your image yet. Start one with <Code>cctboard worker</Code>.
    </>
  );
  return (
    <Group gap="xs" mb="sm" wrap="nowrap">
      <Text size="sm" role="status" component="div" c={why ? "var(--bad)" : undefined}>
        {why ?? (image?.done ? DONE : workers?.workers.length === 0 ? noWorker : waiting)}
      </Text>
      <CloseButton size="xs" aria-label="Forget my image" onClick={forget} />
    </Group>
  );
}

type OfImage = { image: OwnImage; dataset: string };

/** The image as the models see it, once for each checkpoint. */
export function OwnImageHeads({ image, dataset }: OfImage) {
  const url = image.images[dataset];
  if (!url) return null;
  return Object.values(CHECKPOINTS).map((epochName) => (
    <Table.Th key={epochName}>
      <img src={url} width={IMAGE_PIXELS} height={IMAGE_PIXELS} alt={`your image, ${epochName}`} />
      <Text size="xs" ta="center" fw={400}>
        yours, {epochName}
      </Text>
    </Table.Th>
  ));
}

/** What a run's last and best checkpoint make of it. */
export function OwnImageCells({
  image,
  dataset,
  runId,
  classNames,
}: OfImage & { runId: string; classNames: readonly string[] }) {
  const url = image.images[dataset];
  if (!url) return null;
  const said = image.runs.find((run) => run.run_id === runId);
  return (["last", "best"] as const).map((checkpoint) => {
    const look = said?.looks[checkpoint];
    return (
      <Table.Td key={checkpoint} miw="6rem">
        {look ? (
          <>
            <Seen url={url} look={look} number={0} classNames={classNames} />
            <Text size="xs" c="dimmed">
              {look.epoch ? `epoch ${look.epoch}` : "evaluation"}, entropy {look.entropy[0]!.toFixed(2)}
            </Text>
          </>
        ) : (
          <Text size="xs" c="dimmed">
            {said?.error ?? (image.done ? "was not asked" : "…")}
          </Text>
        )}
      </Table.Td>
    );
  });
}
