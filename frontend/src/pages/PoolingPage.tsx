import { Button, Group, NativeSelect, Paper, Text, Title } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";

import type { Pooling as PoolingDetail } from "../api/client";
import { catalogQuery, poolingQuery } from "../api/queries";
import { formPath } from "../api/spec";
import { Check } from "../components/pooling/Check";
import { CodeDifference, CodeOfPooling } from "../components/pooling/Code";
import { Pending } from "../components/shared/Pending";
import { Pooling } from "../components/shared/RunFacts";
import { useUrlParam } from "../components/shared/urlState";

export function PoolingPage() {
  const { name } = useParams() as { name: string };
  const { data: pooling, error } = useQuery(poolingQuery(name));
  if (pooling) return <PoolingView key={name} pooling={pooling} />;
  return <Pending what="pooling" error={error} h={320} />;
}

function PoolingView({ pooling }: { pooling: PoolingDetail }) {
  const { name, summary, formula, is_own: isOwn, is_current: isCurrent } = pooling;
  const { data: catalog } = useQuery(catalogQuery);
  const [chosen, setOther] = useUrlParam("with");
  const others = catalog?.poolings.map(({ full_name }) => full_name).filter((one) => one !== name) ?? [];
  const other = chosen ?? (others.includes("seqpool") ? "seqpool" : others[0]);
  const compared = [name, ...(name === "seqpool" ? ["mean"] : ["seqpool"])];
  return (
    <>
      <title>{`${name} · CCT Board`}</title>
      <div className="page-head">
        <div>
          <Title order={1}>
            <Pooling name={name} />
          </Title>
          <Text size="sm" c="dimmed">
            {isOwn ? "a pooling of your own" : "a pooling of CCT Board"}
            {isOwn && !isCurrent && " · not what its name stands for now; runs of this code are trained with it"}
          </Text>
        </div>
        <Button
          component={Link}
          to={formPath({}, { pooling: compared })}
          size="xs"
          variant="default"
          leftSection={<IconPlus size={14} aria-hidden />}
        >
          Compare it with {compared[1]}
        </Button>
      </div>
      <Paper p="sm" mb="md">
        {formula && <Text className="formula">{formula}</Text>}
        <Text size="sm">{summary || "Its docstring would stand here."}</Text>
      </Paper>
      {isOwn && <Check pooling={pooling} />}
      <Title order={2} mt="xl" mb="sm">
        Code
      </Title>
      <CodeOfPooling name={name} />
      {other && (
        <>
          <Group justify="space-between" mt="xl" mb="sm">
            <Title order={2}>Difference</Title>
            <NativeSelect
              size="xs"
              aria-label="Difference from"
              data={[...new Set([other, ...others])].map((value) => ({ value, label: `from ${value}` }))}
              value={other}
              onChange={({ currentTarget: { value } }) => setOther(value)}
            />
          </Group>
          <Paper p="sm">
            <CodeDifference name={other} other={name} />
          </Paper>
        </>
      )}
    </>
  );
}
