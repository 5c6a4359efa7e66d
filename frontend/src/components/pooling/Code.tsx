import { Box, Paper, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { codeDifferenceQuery, poolingQuery } from "../../api/queries";
import { Pending } from "../shared/Pending";

/** The code of a pooling by its name: of an own one as the runs of that full name are trained with. */
export function CodeOfPooling({ name }: { name: string }) {
  const { data: pooling, error } = useQuery(poolingQuery(name));
  if (!pooling) return <Pending what="code" error={error} h={200} />;
  return (
    <>
      {pooling.files.map(({ name: file, text }) => (
        <Paper key={file} p="sm" mb="sm">
          <Text size="xs" c="dimmed" mb={4}>
            {file}
          </Text>
          <Box component="section" className="code" tabIndex={0} aria-label={`Code in ${file}`}>
            <pre>{text.trimEnd()}</pre>
          </Box>
        </Paper>
      ))}
    </>
  );
}

const SIGNS: Record<string, string> = { "+": "added", "-": "removed", "@": "left out" };

/** In which lines the code of one pooling differs from another's. */
export function CodeDifference({ name, other }: { name: string; other: string }) {
  const { data, error } = useQuery(codeDifferenceQuery(name, other));
  if (!data) return <Pending what="difference" error={error} h={160} />;
  if (data.lines.length === 0) return <Text size="sm">Their code is the same.</Text>;
  return (
    <Box component="section" className="code" tabIndex={0} aria-label={`From ${data.first} to ${data.second}`}>
      <pre>
        {data.lines.map(({ kind, text }, number) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: lines have no name but their place
          <span key={number} data-kind={SIGNS[kind]}>
            {kind === "@" ? "⋯" : `${kind} ${text}`}
            {"\n"}
          </span>
        ))}
      </pre>
    </Box>
  );
}
