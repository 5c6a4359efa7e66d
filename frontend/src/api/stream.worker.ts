/**
 * Holds the one connection for the server's events of all pages of this browser: of HTTP/1.1 a browser opens no more
 * than six connections to a host. The worker's name is the address of the events; a page says only that it leaves.
 */
import { EventStream, type StreamMessage } from "./stream";

declare const self: { readonly name: string; onconnect: (event: MessageEvent) => void };

const pages = new Set<MessagePort>();
let stream: EventStream | undefined;

self.onconnect = ({ ports }) => {
  const page = ports[0]!;
  page.onmessage = () => {
    pages.delete(page);
    if (pages.size > 0) return;
    stream?.close();
    stream = undefined;
  };
  pages.add(page);
  if (!stream) stream = new EventStream(self.name, tellAll);
  else for (const message of stream.now.values()) page.postMessage(message);
};

function tellAll(message: StreamMessage) {
  for (const page of pages) page.postMessage(message);
}
