import { NodeConnectionTypes } from 'n8n-workflow';
import type {
	IDataObject,
	IHookFunctions,
	ILoadOptionsFunctions,
	INodePropertyOptions,
	INodeType,
	INodeTypeDescription,
	IWebhookFunctions,
	IWebhookResponseData,
} from 'n8n-workflow';

import { eventsOf } from './events';
import { ask, CREDENTIAL, refusal } from './gateway';
import { properties } from './properties';
import { isRepeat } from './repeats';
import { secretsIn, verify } from './signature';
import { isSubscribed, subscribe, unsubscribe } from './subscription';
import type { State } from './subscription';

/** What n8n adds to a request: the bytes, once they were read. */
interface RawRequest {
	rawBody?: Buffer;
	readRawBody(): Promise<void>;
}

/** Starts a workflow with the events of a gateway, one item an event, each of them verified. */
export class WebhookGatewayTrigger implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Webhook Gateway Trigger',
		name: 'webhookGatewayTrigger',
		icon: { light: 'file:../../icons/gateway.svg', dark: 'file:../../icons/gateway.dark.svg' },
		group: ['trigger'],
		version: 1,
		subtitle: '={{ $parameter["types"].join(", ") }}',
		description: 'Starts the workflow when the gateway delivers an order event',
		defaults: { name: 'Webhook Gateway Trigger' },
		inputs: [],
		outputs: [NodeConnectionTypes.Main],
		credentials: [{ name: CREDENTIAL, required: true }],
		webhooks: [
			{
				name: 'default',
				httpMethod: 'POST',
				responseMode: 'onReceived',
				responseData: 'noData',
				path: 'webhook',
			},
		],
		properties,
	};

	methods = {
		loadOptions: {
			async getEventTypes(this: ILoadOptionsFunctions): Promise<INodePropertyOptions[]> {
				const answer = await ask(this, 'GET', '/v1/event-types');
				if (answer.statusCode !== 200) throw refusal(this, answer);
				const types = answer.body as unknown as Array<{ type: string; description: string }>;
				const families = new Set(types.map(({ type }) => `${type.split('.')[0]}.*`));
				return [
					...[...families].map((one) => ({ name: one, value: one, description: 'All of these' })),
					...types.map(({ type, description }) => ({ name: type, value: type, description })),
				];
			},
		},
	};

	webhookMethods = {
		default: {
			async checkExists(this: IHookFunctions): Promise<boolean> {
				return await isSubscribed(this);
			},
			async create(this: IHookFunctions): Promise<boolean> {
				await subscribe(this);
				return true;
			},
			async delete(this: IHookFunctions): Promise<boolean> {
				await unsubscribe(this);
				return true;
			},
		},
	};

	async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
		const request = this.getRequestObject();
		const body = await bytesOf(request as unknown as RawRequest);
		const state = this.getWorkflowStaticData('node');
		const options = this.getNodeParameter('options', {}) as IDataObject;
		const secrets = [
			...secretsIn((state as State).secret ?? ''),
			...secretsIn(String(options.furtherSecrets ?? '')),
		];
		const { id, problem } = verify(body, request.headers, secrets, Date.now() / 1000);
		if (id === undefined) return refuse(this, 401, problem);
		const events = eventsOf(body, request.headers);
		if (events === undefined) return refuse(this, 400, 'the delivery is no CloudEvent');
		if (options.dropRepeats !== false && isRepeat(state, id)) return {};
		return { workflowData: [this.helpers.returnJsonArray(events)] };
	}
}

async function bytesOf(request: RawRequest): Promise<Buffer> {
	if (request.rawBody === undefined) await request.readRawBody();
	return request.rawBody ?? Buffer.alloc(0);
}

/** Answer by ourselves, and start no workflow. */
function refuse(context: IWebhookFunctions, status: number, detail: string): IWebhookResponseData {
	context.getResponseObject().status(status).json({ detail });
	return { noWebhookResponse: true };
}
