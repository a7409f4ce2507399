/**
 * As much of n8n as the trigger node meets: the contexts of its methods, over real HTTP.
 *
 * Shapes: `IHookFunctions`, `ILoadOptionsFunctions` and `IWebhookFunctions` of `n8n-workflow`. What
 * n8n does by itself is done as n8n does it: a credential's expressions, static data as JSON, and
 * the answer to a request whose method starts no workflow.
 */
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const DIST = '../n8n-nodes-webhook-gateway/dist';
export const { WebhookGatewayTrigger } = require(
	`${DIST}/nodes/WebhookGatewayTrigger/WebhookGatewayTrigger.node.js`,
);
const { WebhookGatewayApi } = require(`${DIST}/credentials/WebhookGatewayApi.credentials.js`);

/** One n8n with one workflow that begins with the node. */
export class FakeN8n {
	constructor(credentials, parameters = {}) {
		this.node = new WebhookGatewayTrigger();
		this.api = new WebhookGatewayApi();
		this.credentials = credentials;
		this.parameters = { types: [], options: {}, ...parameters };
		this.staticData = {};
		this.started = []; // the items of each run of the workflow
		this.calls = []; // what was asked of the gateway
	}

	/** Switch the workflow on, as n8n does at each of its own starts, too. */
	async activate() {
		const { checkExists, create } = this.node.webhookMethods.default;
		const context = this.context();
		const exists = await checkExists.call(context);
		if (!exists) await create.call(context);
		return exists ? 'existed' : 'created';
	}

	async deactivate() {
		return await this.node.webhookMethods.default.delete.call(this.context());
	}

	/** What the drop-down of event types offers. */
	async eventTypes() {
		return await this.node.methods.loadOptions.getEventTypes.call(this.context());
	}

	/** The test of the credential: the status that its request gets. */
	async testCredential() {
		const { baseURL, url } = this.api.test.request;
		const answer = await fetch(this.resolve(baseURL) + url, { headers: this.authenticated() });
		return answer.status;
	}

	/** A delivery, as it came: the status and the body of what is answered. */
	async take({ headers, body }, { parsed = true } = {}) {
		const request = { headers, rawBody: parsed ? body : undefined };
		request.readRawBody = async () => {
			request.rawBody = body;
		};
		const answer = { status: 200, body: undefined };
		const response = {
			status(code) {
				answer.status = code;
				return response;
			},
			json(value) {
				answer.body = value;
				return response;
			},
		};
		const result = await this.node.webhook.call({
			...this.context(),
			getRequestObject: () => request,
			getResponseObject: () => response,
		});
		if (result.workflowData) this.started.push(result.workflowData[0].map(({ json }) => json));
		this.staticData = JSON.parse(JSON.stringify(this.staticData)); // as n8n saves it
		return answer;
	}

	context() {
		return {
			getCredentials: async () => this.credentials,
			getNode: () => ({ name: 'Webhook Gateway Trigger', type: 'webhookGatewayTrigger' }),
			getNodeParameter: (name, fallback) => this.parameters[name] ?? fallback,
			getNodeWebhookUrl: () => this.url,
			getWorkflow: () => ({ id: '1', name: 'Orders', active: true }),
			getWorkflowStaticData: () => this.staticData,
			helpers: {
				httpRequestWithAuthentication: (_, options) => this.request(options),
				returnJsonArray: (data) => data.map((json) => ({ json })),
			},
		};
	}

	async request({ method, url, body }) {
		this.calls.push(`${method} ${new URL(url).pathname}`);
		const answer = await fetch(url, {
			method,
			headers: { 'content-type': 'application/json', ...this.authenticated() },
			body: body && JSON.stringify(body),
		});
		const text = await answer.text();
		return { statusCode: answer.status, body: text ? JSON.parse(text) : '' };
	}

	authenticated() {
		const { headers } = this.api.authenticate.properties;
		return Object.fromEntries(
			Object.entries(headers).map(([name, value]) => [name, this.resolve(value)]),
		);
	}

	/** n8n's expressions, as far as the credential has them: `=text {{ code }} text`. */
	resolve(text) {
		return text.slice(1).replace(/\{\{(.*?)\}\}/g, (_, code) =>
			Function('$credentials', `return ${code}`)(this.credentials),
		);
	}
}

/** An address that keeps what is delivered to it, and hands it to `n8n`. */
export class Catcher {
	constructor() {
		this.deliveries = [];
		this.n8n = undefined;
		this.server = createServer((request, response) => this.#serve(request, response));
	}

	async listen() {
		await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
		return `http://127.0.0.1:${this.server.address().port}`;
	}

	close() {
		this.server.closeAllConnections();
		this.server.close();
	}

	/** The delivery of this number, from 1 on, as soon as it came. */
	async delivery(number) {
		const end = Date.now() + 20_000;
		while (this.deliveries.length < number) {
			if (Date.now() > end) throw new Error(`${this.deliveries.length} came, not ${number}`);
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
		return this.deliveries[number - 1];
	}

	async #serve(request, response) {
		const chunks = [];
		for await (const chunk of request) chunks.push(chunk);
		const delivery = { path: request.url, headers: request.headers, body: Buffer.concat(chunks) };
		const answer = this.n8n ? await this.n8n.take(delivery) : { status: 200 };
		this.deliveries.push({ ...delivery, answered: answer.status });
		response.writeHead(answer.status, { 'content-type': 'application/json' });
		response.end(answer.body === undefined ? '' : JSON.stringify(answer.body));
	}
}
