import { NodeApiError } from 'n8n-workflow';
import type {
	IDataObject,
	IHookFunctions,
	IHttpRequestMethods,
	ILoadOptionsFunctions,
	JsonObject,
} from 'n8n-workflow';

/** The name of the credential that has the URL and the key. */
export const CREDENTIAL = 'webhookGatewayApi';

/** An answer of the gateway: the status, and the JSON of its body. */
export interface Answer {
	statusCode: number;
	body: IDataObject;
}

type Context = IHookFunctions | ILoadOptionsFunctions;

/** One call of the gateway's API; every status is an answer, only a gateway out of reach throws. */
export async function ask(
	context: Context,
	method: IHttpRequestMethods,
	path: string,
	body?: IDataObject,
): Promise<Answer> {
	const { url } = await context.getCredentials<{ url: string }>(CREDENTIAL);
	const answer: unknown = await context.helpers.httpRequestWithAuthentication.call(
		context,
		CREDENTIAL,
		{
			method,
			url: `${url.replace(/\/+$/, '')}${path}`,
			body,
			json: true,
			returnFullResponse: true,
			ignoreHttpStatusErrors: true,
		},
	);
	return answer as Answer;
}

/** What n8n shows for an answer that was not hoped for: the gateway's own sentence. */
export function refusal(context: Context, answer: Answer): NodeApiError {
	const problem = (answer.body ?? {}) as JsonObject;
	const detail = typeof problem.detail === 'string' ? problem.detail : undefined;
	return new NodeApiError(context.getNode(), problem, {
		message: detail ?? `The gateway answered ${answer.statusCode}`,
		description: `${String(problem.code ?? '')} ${String(problem.request_id ?? '')}`.trim(),
		httpCode: String(answer.statusCode),
	});
}
