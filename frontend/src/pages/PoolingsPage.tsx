import { Anchor, Code, Paper, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import type { Catalog } from "../api/client";
import { catalogQuery, poolingQuery } from "../api/queries";
import { told } from "../components/pooling/Check";
import { ErrorAlert } from "../components/shared/ErrorAlert";
import { Pending } from "../components/shared/Pending";
import { Pooling } from "../components/shared/RunFacts";

export function PoolingsPage() {
  const { data: catalog, error } = useQuery(catalogQuery);
  return (
    <>
      <title>Poolings · CCT Board</title>
      <Title order={1} mb="md">
        Poolings
      </Title>
      {catalog ? <Lists catalog={catalog} /> : <Pending what="list of poolings" error={error} h={320} />}
    </>
  );
}

function Lists({ catalog }: { catalog: Catalog }) {
  const own = catalog.poolings.filter(({ file }) => file !== null);
  return (
    <>
      <Title order={2} mb="sm">
        Your own
      </Title>
      <Text size="sm" mb="sm" maw="80ch">
        Python files in <Code>{catalog.poolings_folder}</Code> on the machine of the API. One that is saved is here at
        once, without a restart, and a worker checks it. Runs keep the code that they were queued with.
        {own.length === 0 && (
          <>
            {" "}
            Begin with <Code>cctboard new-pooling NAME</Code>.
          </>
        )}
      </Text>
      {catalog.broken_poolings.map(({ file, line, error }) => (
        <ErrorAlert
          key={`${file} ${line} ${error}`}
          title={`${file} cannot be used`}
          message={line ? `line ${line}: ${error}` : error}
        />
      ))}
      {own.length > 0 && <PoolingsTable poolings={own} label="Your own" isOwn />}
      <Title order={2} mt="xl" mb="sm">
        Of CCT Board
      </Title>
      <PoolingsTable poolings={catalog.poolings.filter(({ file }) => file === null)} label="Of CCT Board" />
    </>
  );
}

type TableProps = { poolings: Catalog["poolings"]; label: string; isOwn?: boolean };

function PoolingsTable({ poolings, label, isOwn = false }: TableProps) {
  return (
    <Paper>
      <Table.ScrollContainer minWidth={640} type="native" tabIndex={0} role="region" aria-label={label}>
        <Table className="cards" fz="sm">
          <Table.Caption className="visually-hidden">{label}</Table.Caption>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Name</Table.Th>
              {isOwn && <Table.Th>File</Table.Th>}
              {isOwn && <Table.Th>Check</Table.Th>}
              <Table.Th>Formula</Table.Th>
              <Table.Th>What it is</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {poolings.map(({ name, file, formula, summary }) => (
              <Table.Tr key={name}>
                <Table.Th scope="row" fw={500}>
                  <Anchor component={Link} to={`/board/poolings/${name}`} inherit underline="always">
                    <Pooling name={name} />
                  </Anchor>
                </Table.Th>
                {isOwn && <Table.Td data-label="File">{file}</Table.Td>}
                {isOwn && (
                  <Table.Td data-label="Check">
                    <CheckOf name={name} />
                  </Table.Td>
                )}
                <Table.Td data-label="Formula">
                  <span className="formula">{formula}</span>
                </Table.Td>
                <Table.Td data-label="What it is">{summary}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Paper>
  );
}

function CheckOf({ name }: { name: string }) {
  const { data: pooling } = useQuery(poolingQuery(name));
  return <>{pooling?.check ? told(pooling.check) : "–"}</>;
}
