import { Paper, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import type { Run } from "../../api/client";
import { catalogQuery } from "../../api/queries";
import { defaultOf, specFields, settledValue } from "../../api/spec";
import { Pending } from "../shared/Pending";

/** All hyperparameters; those that differ from the defaults stand out. */
export function SpecTable({ run }: { run: Run }) {
  const { data: catalog, error } = useQuery(catalogQuery);
  if (!catalog) return <Pending what="spec" error={error} h={300} />;
  return (
    <Paper>
      <Table fz="sm" className="facts">
        <Table.Caption className="visually-hidden">Spec</Table.Caption>
        <Table.Tbody>
          {specFields(catalog).map((field) => {
            const usual = defaultOf(field, catalog, run.spec);
            const value = settledValue(field, catalog, run.spec);
            const differs = value !== usual;
            return (
              <Table.Tr key={field.name} className={differs ? "differs" : undefined}>
                <Table.Th scope="row" fw={400} title={field.description}>
                  {field.name}
                </Table.Th>
                <Table.Td fw={differs ? 600 : 400}>
                  {value}
                  {differs && (
                    <Text span inherit fw={400} c="dimmed">
                      {" "}
                      (default: {usual})
                    </Text>
                  )}
                </Table.Td>
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
    </Paper>
  );
}

/** Versions, device, precision and dataset of the newest attempt. */
export function ProvenanceTable({ run: { provenance } }: { run: Run }) {
  if (!provenance) {
    return (
      <Paper p="md">
        <Text size="sm" c="dimmed">
          It is written down when training begins.
        </Text>
      </Paper>
    );
  }
  return (
    <Paper>
      <Table fz="sm" className="facts">
        <Table.Caption className="visually-hidden">Provenance</Table.Caption>
        <Table.Tbody>
          {Object.entries(provenance).map(([name, value]) => (
            <Table.Tr key={name}>
              <Table.Th scope="row" fw={400}>
                {name.replaceAll("_", " ")}
              </Table.Th>
              <Table.Td>{value}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Paper>
  );
}
