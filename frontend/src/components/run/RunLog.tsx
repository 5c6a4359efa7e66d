import { Group, Highlight, Paper, Text, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef } from "react";

import type { Run } from "../../api/client";
import { LIMITS } from "../../api/limits";
import { logQuery } from "../../api/queries";
import { plural } from "../../format";
import { ErrorAlert } from "../shared/ErrorAlert";
import { useUrlText } from "../shared/urlState";

const READ_EVERY_MS = 2_000;

/** What the trainer printed; stays at the end while the reader is there. The searched text is in the address. */
export function RunLog({ run: { id, state } }: { run: Run }) {
  // Lines make no events, so that a talkative trainer does not flood every open page.
  const { data: log, error } = useQuery({ ...logQuery(id), refetchInterval: state === "running" && READ_EVERY_MS });
  const [text, setText] = useUrlText("log");
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);

  useEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  });

  if (error && !log) return <ErrorAlert title="The log cannot be shown" message={error.message} />;
  const lines = log?.lines ?? [];
  const ended = state !== "queued" && state !== "running";
  const wanted = text.toLowerCase();
  const shown = lines.filter((line) => line.text.toLowerCase().includes(wanted));
  return (
    <Paper p="sm">
      <Group gap="sm" mb="xs">
        <TextInput
          size="xs"
          type="search"
          aria-label="Search the log"
          placeholder="Search the log"
          leftSection={<IconSearch size={14} aria-hidden />}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        <Text size="xs" c="dimmed" role="status">
          {text ? `${shown.length} of ${plural(lines.length, "line")}` : plural(lines.length, "line")}
          {lines.length >= LIMITS.log_lines && "; older ones are not kept"}
        </Text>
      </Group>
      <div
        ref={box}
        className="log"
        role="log"
        aria-label="Log"
        aria-live="off"
        tabIndex={0}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          atEnd.current = scrollHeight - scrollTop - clientHeight < 24;
        }}
      >
        {log && lines.length === 0 && (
          <Text c="dimmed">{ended ? "Nothing was printed." : "Nothing was printed yet."}</Text>
        )}
        {shown.map((line, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: lines have no name of their own, and are only added at the end
          <div key={index}>
            <time dateTime={line.at}>{new Date(line.at).toLocaleTimeString([], { hourCycle: "h23" })}</time>{" "}
            <Highlight span inherit highlight={wanted}>
              {line.text}
            </Highlight>
          </div>
        ))}
      </div>
    </Paper>
  );
}
