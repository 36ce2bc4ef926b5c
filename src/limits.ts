/** Every bound of the server, with its reason. */

/** Tokens in a KV block: one AVX-512 register of f32 scores, and the field's usual block size. */
export const KV_BLOCK_TOKENS = 16;

/** Longest context, tokens, whatever a model file claims: RoPE tables (67 MB at 64 pairs) and block tables grow. */
export const CONTEXT_TOKENS_MAX = 131_072;

/** Tokens of one step: enough columns to reach the matrix kernels' full speed, few enough to keep steps short. */
export const STEP_TOKENS_MAX = 512;

/**
 * A step is queued behind a running one only if that one has at most this many tokens. A longer step hides the turn
 * through JavaScript anyway, and not queueing behind it lets arrivals and aborts act one step earlier.
 */
export const LOOK_AHEAD_TOKENS_MAX = 128;

/** Sequences decoded together. Bounds the slot table. */
export const SEQUENCES_MAX = 64;

/** Sequences that may wait; beyond it 429. A user would rather retry elsewhere than wait behind this many. */
export const WAITING_MAX = 256;

/** Prompt tokens that may wait, so that few long prompts can't make a line of hours: two of the largest context. */
export const WAITING_TOKENS_MAX = 2 * CONTEXT_TOKENS_MAX;

/** Time to wait for a first turn, s: clients commonly give up after ten minutes; half of that leaves time to answer. */
export const QUEUE_SECONDS = 300;

/**
 * Time between two tokens of a running answer while prompts of others are computed, ms. Ten tokens a second is faster
 * than reading, and chunks this long still compute at nearly full speed.
 */
export const ITL_TARGET_MS = 100;

/** Rows whose logits one step may return: every decode, or a tile of prompt scoring. */
export const STEP_ROWS_MAX = 512;

/** Request bodies: a context of 128k tokens at ~8 bytes, as JSON. */
export const BODY_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Arrays and objects within each other in a request: what is sent on, to a chat template or back to the client, is
 * walked through recursively. JSON schemas, the deepest thing that people send, need two levels for each of theirs.
 */
export const JSON_DEPTH_MAX = 100;

/** Longest tokenization on the event loop; longer prompts go to a worker thread. */
export const INLINE_TOKENIZE_BYTES_MAX = 4096;

/** `stop` strings of a request (the OpenAI contract) and the length of each, which bounds text held back. */
export const STOP_STRINGS_MAX = 4;
export const STOP_STRING_LENGTH_MAX = 256;

/** `stop_token_ids` of a request: looked up in a set, so the bound is on the body. */
export const STOP_TOKEN_IDS_MAX = 128;

/** Text files of pinned prefixes, and the size of each: prompts of a server's applications, a context at most. */
export const PINNED_FILES_MAX = 64;
export const PINNED_FILE_BYTES_MAX = 1024 * 1024;

/** Prompts × n of one request: more would starve other users of slots. */
export const SEQUENCES_PER_REQUEST_MAX = 128;

/** Entries of `logit_bias`: each one is another write into the logits of every sampled token. */
export const LOGIT_BIAS_MAX = 1024;

/** Silence on a stream before a comment is sent: well under the 30–60 s after which proxies give up. */
export const SSE_PING_MS = 10_000;

/** How long a client may leave a full socket unread before its stream is cut, so that dead readers free their slots. */
export const SSE_STALL_MS_MAX = 60_000;

/** Time to send a whole request: a slow body must not hold a connection for ever. */
export const REQUEST_RECEIVE_MS_MAX = 60_000;

/** Open connections: each waiting sequence plus scrapers and probes, with room; beyond it new ones are dropped. */
export const CONNECTIONS_MAX = 2048;

/** Field names listed in a log line about ignored fields: a hostile body must not write a long line. */
export const LOGGED_FIELDS_MAX = 20;

/** Words whose ids the tokenizer remembers: some 10 MB; a language's common words are fewer. */
export const TOKENIZER_CACHE_WORDS_MAX = 1 << 16;

/** Texts that may wait for the tokenizer's worker, together no more than the characters of a few largest requests. */
export const TOKENIZER_WAITING_MAX = 256;
export const TOKENIZER_WAITING_CHARS_MAX = 16 * BODY_BYTES_MAX;

/** Chat templates come with model files: what one may take, in time and memory, before its thread is ended. */
export const CHAT_TEMPLATE_MS_MAX = 2000;
export const CHAT_TEMPLATE_HEAP_MB_MAX = 256;

/** Conversations that may wait for their template. */
export const CHAT_TEMPLATE_WAITING_MAX = 256;

/** Longest prompt that a template may make, characters: four per token of the longest context, and room. */
export const CHAT_PROMPT_CHARS_MAX = 16 * CONTEXT_TOKENS_MAX;

/** Length of `cache_salt`: a name or a random key. */
export const CACHE_SALT_LENGTH_MAX = 256;

/** Functions that a request may offer (the OpenAI contract). */
export const TOOLS_MAX = 128;

/** API keys of one server: each is compared with at every request. */
export const API_KEYS_MAX = 1024;

/** API keys whose costs are counted apart: those of one list, and as many that were taken out of it. */
export const COST_KEYS_MAX = 2 * API_KEYS_MAX;

/** Rows that wait for the ledger's thread: some minutes of a busy server while the disk is full; 10 MB. */
export const LEDGER_ROWS_WAITING_MAX = 16_384;
/** After a row couldn't be written, the next attempt, ms. */
export const LEDGER_RETRY_MS = 5000;
/** Time that the last rows get when the server stops, ms. */
export const LEDGER_CLOSE_MS = 2000;
/** Reports that may wait for the ledger's thread, and lines of one page of them. */
export const LEDGER_REPORTS_WAITING_MAX = 16;
export const LEDGER_PAGE_LINES_MAX = 1000;

/** Text of a constraint (schema, pattern, grammar), and the rules that a schema becomes: both bound compile time. */
export const CONSTRAINT_CHARS_MAX = 64 * 1024;
export const GRAMMAR_RULES_BYTES_MAX = 512 * 1024;

/** Highest count in a schema or a pattern, what all of a pattern's may come to, and depth: each is compiled out. */
export const GRAMMAR_REPEAT_MAX = 1024;
export const GRAMMAR_STATES_MAX = 4096;
export const GRAMMAR_NESTING_MAX = 64;

/** Compiled grammars kept for the next request that has the same one, and memory of their engine with all of them. */
export const GRAMMARS_CACHED_MAX = 64;
export const GRAMMAR_MEMORY_BYTES_MAX = 1024 * 1024 * 1024;

/** How long compiling a constraint, and finding the tokens that may follow, can take before their thread is ended. */
export const GRAMMAR_COMPILE_MS_MAX = 10_000;
export const GRAMMAR_MASK_MS_MAX = 2000;
/** The same for building the engine's vocabulary: 0.1 s for 50,000 tokens on an idle machine. */
export const GRAMMAR_START_MS_MAX = 60_000;

/** By how much these times may be exceeded on a machine so busy that the thread gets no CPU. */
export const GRAMMAR_BUSY_FACTOR = 6;

/** Constraints that may wait to be compiled: each can take seconds. */
export const GRAMMAR_WAITING_MAX = 32;

/** Time that the last traces get to be sent when the server stops, ms: a collector that is gone must not hold it up. */
export const TRACE_FLUSH_MS_MAX = 2000;

/** Readers of the events of prefix caches: routers, some for each. What one leaves unread before it loses events. */
export const KV_EVENT_SUBSCRIBERS_MAX = 16;
export const KV_EVENT_TOPICS_MAX = 64;
export const KV_EVENT_BUFFER_BYTES_MAX = 8 * 1024 * 1024;

/** Models of one server: each has its own series in the metrics. */
export const MODELS_MAX = 64;

/** After a failed attempt to load a model, requests for it are refused this long without another attempt, ms. */
export const LOAD_RETRY_MS = 5000;

/** Aliases of one server: each may have a report of its own. */
export const ALIASES_MAX = 64;

/** Sequences whose times a canary's report is made of, for each model: enough for a 95th percentile, and recent. */
export const ROLLOUT_SAMPLES_MAX = 1024;

/** Bytes of a recipe, in a file of its own or in a model file: one with every layer spelt out has some 20 kB. */
export const RECIPE_BYTES_MAX = 1024 * 1024;

/** Bytes of a cost plan's scenario: one of 32 options has some 50 kB. */
export const SCENARIO_BYTES_MAX = 1024 * 1024;

/** Prompt tokens that are pruned together, as the addon has it: steps hold one window beside all that decodes. */
export const PRUNING_WINDOW_TOKENS = 256;
/** Places in a model where tokens are dropped, as the addon has it. */
export const PRUNING_STAGES_MAX = 4;

/** Designs of one exploration: five million take a minute and 200 MB. */
export const EXPLORE_POINTS_MAX = 5_000_000;

/** Tokens of a step whose sums are kept as tables, as the addon has it: six times the bytes of their activations. */
export const LOOKUP_TOKENS_MAX = 16;
/** Bytes of the file that `nibble tune` leaves: it has some 200. */
export const TUNING_BYTES_MAX = 4096;
