import { Paper, Table } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { epochsQuery } from "../../api/queries";
import { percent } from "../../format";

const nats = (value: number | null | undefined) => (value == null ? "–" : `${value.toFixed(4)} nats`);

/** What the given weights make of the validation images: there are no curves without training. */
export function Evaluation({ id }: { id: string }) {
  const { data } = useQuery(epochsQuery(id));
  const found = data?.[0];
  if (!found) return null;
  const rows = {
    "Top-1": percent(found.val_top1),
    "Top-5": percent(found.val_top5),
    "Balanced accuracy": percent(found.val_balanced),
    "Negative log-likelihood": nats(found.val_nll),
    "Loss, with smoothed labels": nats(found.val_loss),
    "Calibration error": found.val_ece?.toFixed(4) ?? "–",
    "Entropy of pooling weights": nats(found.pooling_entropy),
  };
  return (
    <Paper>
      <Table fz="sm" className="facts">
        <Table.Caption className="visually-hidden">Evaluation</Table.Caption>
        <Table.Tbody>
          {Object.entries(rows).map(([name, value]) => (
            <Table.Tr key={name}>
              <Table.Th scope="row" fw={400}>
                {name}
              </Table.Th>
              <Table.Td>{value}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Paper>
  );
}
