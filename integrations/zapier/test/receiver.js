'use strict';

const http = require('node:http');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');

const PATIENCE = 20_000; // milliseconds; the machine that runs the tests may be busy

/** Stands where Zapier's hooks are: takes requests, and keeps each as Zapier hands it on. */
class Receiver {
  /** Which status a path answers from now on; 200 if none is said, 302 leads to `/elsewhere`. */
  statuses = new Map();

  #taken = new Map();

  async start() {
    this.server = http.createServer((request, response) => this.#take(request, response));
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.url = `http://127.0.0.1:${this.server.address().port}`;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  /** What came to a path so far. */
  at(path) {
    return this.#taken.get(path) ?? [];
  }

  /** The first `count` requests at a path, as soon as they are there. */
  async wait(path, count = 1) {
    await until(() => this.at(path).length >= count, `${count} requests at ${path}`);
    return this.at(path);
  }

  async #take(request, response) {
    const chunks = await request.toArray();
    const [path, querystring = ''] = request.url.split('?');
    const raw = {
      method: request.method,
      querystring,
      headers: renamed(request.rawHeaders),
      content: Buffer.concat(chunks).toString(),
    };
    this.#taken.set(path, [...this.at(path), raw]);
    const status = this.statuses.get(path) ?? 200;
    response.writeHead(status, status === 302 ? { Location: '/elsewhere' } : {}).end();
  }
}

/** Zapier hands on `webhook-id` as `Http-Webhook-Id`; only two names stay as they are. */
const renamed = (rawHeaders) => {
  const headers = {};
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at].toLowerCase().replace(/\b[a-z]/g, (letter) => letter.toUpperCase());
    const kept = name === 'Content-Type' || name === 'Content-Length';
    headers[kept ? name : `Http-${name}`] = rawHeaders[at + 1];
  }
  return headers;
};

/** Waits for what `holds`, which may be a promise. */
const until = async (holds, what) => {
  const end = Date.now() + PATIENCE;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
};

module.exports = { Receiver, until };
