import type { FastifyInstance } from 'fastify';
import { DEFAULT_ALIAS } from '../../engine/routing.js';
import { NibbleError } from '../../errors.js';
import { encodeChat } from '../chat/plan.js';
import { checkedIds, encodeTexts } from '../generation/encode.js';
import { logIgnoredFields } from '../generation/respond.js';
import { invalid } from '../generation/settings.js';
import type { Models } from '../models.js';
import { unknownFields } from '../schemas/fields.js';
import {
  type DetokenizeBody,
  DetokenizeRequest,
  type TokenizeBody,
  TokenizeRequest,
  type TokenizerInfoBody,
} from '../schemas/tokens.js';
import type { ServedModel } from '../served-model.js';
import { toolSupportOf } from '../tools/format.js';

/** The ids of a text, or of a conversation as chat completions would see it. */
async function tokenize(body: TokenizeRequest, model: ServedModel): Promise<Int32Array> {
  const { prompt, messages } = body;
  if (prompt == null && messages == null) throw invalid('prompt', "Either 'prompt' or 'messages' is required.");
  if (prompt != null && messages != null) throw invalid('messages', "'messages' excludes 'prompt'.");
  if (messages != null) {
    return encodeChat({ ...body, model: model.id, messages }, model, toolSupportOf(model.chat?.source ?? ''));
  }
  const options = { addSpecialTokens: body.add_special_tokens ?? true, parseSpecial: true };
  const [ids = new Int32Array(0)] = await encodeTexts([prompt ?? ''], model, options);
  return ids;
}

/** POST /tokenize and /detokenize, GET /tokenizer_info, as vLLM has them; and the refusal of /v1/embeddings. */
export function registerTokens(app: FastifyInstance, models: Models): void {
  const onRequest = async () => models.requireReady();
  app.post<{ Body: TokenizeRequest }>(
    '/tokenize',
    { schema: { body: TokenizeRequest }, onRequest },
    async (request, reply): Promise<TokenizeBody> => {
      const { body } = request;
      const model = await models.borrow(body.model ?? DEFAULT_ALIAS, reply);
      logIgnoredFields(request, unknownFields(TokenizeRequest, body));
      const ids = await tokenize(body, model);
      return {
        count: ids.length,
        max_model_len: model.engine.contextTokensMax,
        tokens: [...ids],
        token_strs: body.return_token_strs === true ? Array.from(ids, (id) => model.tokenizer.tokenText(id)) : null,
      };
    },
  );
  app.post<{ Body: DetokenizeRequest }>(
    '/detokenize',
    { schema: { body: DetokenizeRequest }, onRequest },
    async (request, reply): Promise<DetokenizeBody> => {
      const { body } = request;
      const { tokenizer } = await models.borrow(body.model ?? DEFAULT_ALIAS, reply);
      logIgnoredFields(request, unknownFields(DetokenizeRequest, body));
      return { prompt: tokenizer.decode(checkedIds(body.tokens, tokenizer.vocabSize, 'tokens'), true) };
    },
  );
  app.get('/tokenizer_info', { onRequest }, async (_request, reply): Promise<TokenizerInfoBody> => {
    const { tokenizer, chat } = await models.borrow(DEFAULT_ALIAS, reply);
    const [eosId = null] = tokenizer.endIds;
    const textOf = (id: number | null) => (id === null ? null : tokenizer.tokenText(id));
    return { bos_token: textOf(tokenizer.bosId), eos_token: textOf(eosId), chat_template: chat?.source ?? null };
  });
  app.post('/v1/embeddings', { onRequest }, async () => {
    throw new NibbleError('embeddings_unavailable', {}, { param: 'model' });
  });
}
