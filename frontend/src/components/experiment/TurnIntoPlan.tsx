import { Button, Group, Popover, Text } from "@mantine/core";
import { IconTargetArrow } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";

import { onExperiment, useAction } from "../../api/actions";
import type { Experiment } from "../../api/client";
import { catalogQuery } from "../../api/queries";
import { type Draft, planFields, planRequest, variantsOf } from "../../api/spec";
import { PlanFields } from "../shared/PlanFields";

/** Asks an experiment's question again, with a plan and on seeds that nobody has seen. */
export function TurnIntoPlan({ experiment: { id, axes, variants } }: { experiment: Experiment }) {
  const { data: catalog } = useQuery(catalogQuery);
  const [opened, setOpened] = useState(false);
  const [plan, setPlan] = useState<NonNullable<Draft["plan"]>>({});
  const navigate = useNavigate();
  const compared = variants.length ? variants.map(({ name }) => name) : variantsOf({ axes: axes as Draft["axes"] });
  const fields = catalog ? planFields(catalog, compared) : [];
  const start = useAction("No plan queued", async () => {
    const planned = await onExperiment.plan(id, planRequest(plan, fields));
    setOpened(false);
    await navigate(`/board/experiments/${planned.id}`);
  });
  return (
    <Popover opened={opened} onChange={setOpened} width={360} trapFocus>
      <Popover.Target>
        <Button
          size="xs"
          variant="default"
          onClick={() => setOpened(true)}
          leftSection={<IconTargetArrow size={14} aria-hidden />}
        >
          Turn into a plan
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="Turn into a plan">
        <Text size="sm" mb="xs">
          Queues a new experiment that asks the same on new seeds, until the answer is known. The results that are here
          stay, but do not count there.
        </Text>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            start.mutate();
          }}
        >
          <PlanFields fields={fields} plan={plan} onChange={setPlan} />
          <Group justify="flex-end" mt="sm">
            <Button size="xs" type="submit" loading={start.isPending}>
              Queue the plan
            </Button>
          </Group>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}
