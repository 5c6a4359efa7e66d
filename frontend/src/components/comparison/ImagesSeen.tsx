import { Modal, SimpleGrid, Table, Text } from "@mantine/core";
import { useState } from "react";

import type { OwnImage } from "../../api/client";
import { OwnImageCells, OwnImageHeads } from "./OwnImage";
import { IMAGE_PIXELS, LARGE_PIXELS, type Sample, Seen, type Shown } from "./Seen";

type Props = {
  images: Sample[];
  shown: Shown[];
  own: OwnImage | undefined;
  classNames: readonly string[];
  dataset: string;
  epoch: number;
  name: (one: Shown) => React.ReactNode;
};

/** Variants below each other, the same test images side by side; a click enlarges one for all variants. */
export function ImagesSeen({ images, shown, own, classNames, dataset, epoch, name }: Props) {
  const [large, setLarge] = useState<Sample | null>(null);
  return (
    <>
      <Table.ScrollContainer minWidth={0} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
        <Table withRowBorders={false} w="auto" className="lens named-rows cards" horizontalSpacing={3}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>variant</Table.Th>
              {own && <OwnImageHeads image={own} dataset={dataset} />}
              {images.map(({ url, label, number }) => (
                <Table.Th key={number}>
                  <img
                    src={url}
                    width={IMAGE_PIXELS}
                    height={IMAGE_PIXELS}
                    alt={`test sample of class ${classNames[label] ?? label}`}
                  />
                  <Text size="xs" ta="center" w={IMAGE_PIXELS} lineClamp={2} fw={400}>
                    {classNames[label] ?? label}
                  </Text>
                </Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {shown.map(({ run, look }) => (
              <Table.Tr key={run.run_id}>
                <Table.Th scope="row">{name({ run, look })}</Table.Th>
                {own && <OwnImageCells image={own} runId={run.run_id} {...{ classNames, dataset }} />}
                {images.map((image) => (
                  <Table.Td key={image.number}>
                    {look && (
                      <button type="button" className="enlarge" onClick={() => setLarge(image)}>
                        <Seen {...image} look={look} classNames={classNames} />
                      </button>
                    )}
                  </Table.Td>
                ))}
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
      <Modal
        opened={large !== null}
        onClose={() => setLarge(null)}
        size="auto"
        title={large && `An image of class ${classNames[large.label] ?? large.label}, epoch ${epoch}`}
        closeButtonProps={{ "aria-label": "Close" }}
      >
        <SimpleGrid cols={{ base: 1, xs: 2, md: Math.min(4, shown.length) }}>
          {large &&
            shown.map(({ run, look }) => (
              <div key={run.run_id}>
                {name({ run, look })}
                {look && <Seen {...large} look={look} classNames={classNames} pixels={LARGE_PIXELS} />}
              </div>
            ))}
        </SimpleGrid>
      </Modal>
    </>
  );
}
