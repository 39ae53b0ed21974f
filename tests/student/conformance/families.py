"""Small chat templates that behave as those of common model families do.

They are written for these tests: what counts is the behaviour that decides where a response is
(what stands around it, what becomes of thinking, system prompts, white space and tool calls).
"""

LOOP = "{% for m in messages %}"
GENERATE = "{% if add_generation_prompt %}"
_CALLS = (
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    "{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}\n</tool_call>"
    "{% endfor %}"
)
_TOOLS = (
    "{% if tools %}<|im_start|>system\nTools:{% for t in tools %}\n{{ t | tojson }}{% endfor %}"
    "<|im_end|>\n{% endif %}"
)
_SPLIT = (
    "{% set t = '' %}{% set c = m.content or '' %}"
    "{% if m.reasoning_content is string %}{% set t = m.reasoning_content %}"
    "{% elif '</think>' in c %}"
    "{% set t = c.split('</think>')[0].split('<think>')[-1] %}"
    "{% set c = c.split('</think>')[-1] %}{% endif %}"
)
_LAST = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}"
    "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
)
_NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
_ALTERNATE = (
    "{% for m in messages %}{% if m.role not in ['user', 'assistant'] or "
    "(m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)
_SYSTEM_IN_FIRST = (
    "{{ bos_token }}{% set sys = '' %}{% if messages[0].role == 'system' %}"
    "{% set sys = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% set messages = messages[1:] %}{% endif %}"
)


def _inst(user: str, assistant: str) -> str:
    return (
        f"{{% for m in messages %}}{{% if m.role == 'user' %}}{user}"
        f"{{% elif m.role == 'assistant' %}}{assistant}{{% endif %}}{{% endfor %}}"
    )


FAMILIES: dict[str, str] = {
    "chatml": LOOP
    + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    + GENERATE
    + "<|im_start|>assistant\n{% endif %}",
    "chatml with tools": _TOOLS
    + LOOP
    + "<|im_start|>{{ m.role }}\n{{ m.content }}"
    + _CALLS
    + "<|im_end|>\n{% endfor %}"
    + GENERATE
    + "<|im_start|>assistant\n{% endif %}",
    "llama 2": _SYSTEM_IN_FIRST
    + LOOP
    + "{% if m.role == 'user' %}[INST] {{ (sys if loop.first else '') + m.content.strip() }}"
    " [/INST]{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "mistral v0.2": "{{ bos_token }}"
    + _ALTERNATE
    + _inst("[INST] {{ m.content }} [/INST]", "{{ m.content + eos_token }}"),
    "mistral v0.3": "{{ bos_token }}"
    + _ALTERNATE
    + _inst("[INST] {{ m.content }}[/INST]", "{{ ' ' + m.content | trim + eos_token }}"),
    "mistral nemo": "{{ bos_token }}{% set sys = '' %}{% if messages[0].role == 'system' %}"
    "{% set sys = messages[0].content %}{% set messages = messages[1:] %}{% endif %}"
    + LOOP
    + "{% if m.role == 'user' %}{% if loop.last or loop.index0 == messages | length - 2 %}"
    "{{ '[INST]' + (sys + '\n\n' if sys else '') + m.content + '[/INST]' }}{% else %}"
    "{{ '[INST]' + m.content + '[/INST]' }}{% endif %}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}",
    "mistral large": "{{ bos_token }}"
    + _inst("[INST] {{ m.content }}[/INST]", "{{ ' ' + m.content + eos_token }}"),
    "vicuna": LOOP + "{% if m.role == 'system' %}{{ m.content + ' ' }}"
    "{% elif m.role == 'user' %}USER: {{ m.content + ' ' }}"
    "{% else %}ASSISTANT: {{ m.content + eos_token }}{% endif %}{% endfor %}"
    + GENERATE
    + "ASSISTANT:{% endif %}",
    "openchat": "{{ bos_token }}"
    + LOOP
    + "GPT4 Correct {{ m.role.title() }}: {{ m.content }}<|end_of_turn|>{% endfor %}"
    + GENERATE
    + "GPT4 Correct Assistant:{% endif %}",
    "deepseek v2": "{{ bos_token }}"
    + LOOP
    + "{% if m.role == 'user' %}User: {{ m.content + '\n\n' }}"
    "{% elif m.role == 'assistant' %}Assistant: {{ m.content + eos_token }}"
    "{% else %}{{ m.content + '\n\n' }}{% endif %}{% endfor %}"
    + GENERATE
    + "Assistant:{% endif %}",
    "deepseek r1 distill": "{{ bos_token }}"
    + LOOP
    + "{% if m.role == 'user' %}<|User|>{{ m.content }}{% elif m.role == 'assistant' %}"
    "<|Assistant|>{{ m.content.split('</think>')[-1] }}<|end_of_sentence|>"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    + GENERATE
    + "<|Assistant|><think>\n{% endif %}",
    "deepseek v3.1": "{{ bos_token }}"
    + LOOP
    + "{% if m.role == 'user' %}<|User|>{{ m.content }}{% elif m.role == 'assistant' %}"
    "<|Assistant|></think>{{ m.content.split('</think>', 1)[-1] }}<|end_of_sentence|>"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    + GENERATE
    + "<|Assistant|>{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}",
    "qwen 3": _TOOLS
    + _LAST
    + LOOP
    + "{% if m.role == 'assistant' %}"
    + _SPLIT
    + "<|im_start|>assistant\n{% if loop.index0 > ns.last and (loop.last or t) %}"
    "<think>\n{{ t.strip('\n') }}\n</think>\n\n{{ c.lstrip('\n') }}"
    "{% else %}{{ c.lstrip('\n') }}{% endif %}"
    + _CALLS
    + "<|im_end|>\n{% elif m.role == 'tool' %}<|im_start|>user\n<tool_response>\n"
    "{{ m.content }}\n</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    + GENERATE
    + "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}",
    "qwq": _LAST
    + LOOP
    + "{% if m.role == 'assistant' %}{% set c = m.content.split('</think>')[-1].lstrip('\n') %}"
    "<|im_start|>assistant\n{{ c }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    + GENERATE
    + "<|im_start|>assistant\n<think>\n{% endif %}",
    "qwen 3.5": _LAST
    + LOOP
    + "{% if m.role == 'assistant' %}"
    + _SPLIT
    + "<|im_start|>assistant\n{% if loop.index0 > ns.last %}<think>\n{{ t | trim }}\n</think>\n\n"
    "{% endif %}{{ c | trim }}"
    + "{% for k in m.tool_calls or [] %}<tool_call>\n<function={{ k.function.name }}>\n"
    "{% for n, v in k.function.arguments | items %}<parameter={{ n }}>\n{{ v }}\n</parameter>\n"
    "{% endfor %}</function>\n</tool_call>{% endfor %}"
    + "<|im_end|>\n{% else %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endif %}{% endfor %}" + GENERATE + "<|im_start|>assistant\n<think>\n{% endif %}",
    "glm 4": "[gMASK]<sop>"
    + LOOP
    + "<|{{ 'observation' if m.role == 'tool' else m.role }}|>\n{{ m.content }}{% endfor %}"
    + GENERATE
    + "<|assistant|>\n{% endif %}",
    "glm 4.5": "[gMASK]<sop>"
    + _LAST
    + LOOP
    + "{% if m.role == 'assistant' %}"
    + _SPLIT
    + "<|assistant|>\n{% if loop.index0 > ns.last and t %}<think>{{ t.strip() }}</think>"
    "{% else %}<think></think>{% endif %}{% if c.strip() %}{{ '\n' + c.strip() }}{% endif %}"
    "{% else %}<|{{ m.role }}|>\n{{ m.content }}{% endif %}{% endfor %}"
    + GENERATE
    + "<|assistant|>{% if enable_thinking is defined and not enable_thinking %}\n<think></think>"
    "{% endif %}{% endif %}",
    "nemotron 3": _LAST + LOOP + "{% if m.role == 'assistant' %}{% set c = m.content %}"
    "{% if m.reasoning_content is string %}"
    "{% set c = '<think>\n' + m.reasoning_content + '\n</think>\n' + c %}"
    "{% elif '<think>' not in c and '</think>' not in c %}{% set c = '<think></think>' + c %}"
    "{% endif %}<|im_start|>assistant\n{{ c | trim }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    + GENERATE
    + "<|im_start|>assistant\n<think>\n{% endif %}",
    "exaone 4": _LAST
    + LOOP
    + "{% if m.role == 'assistant' %}"
    + _SPLIT
    + "[|assistant|]\n{% if loop.index0 > ns.last %}<think>\n{{ t | trim }}\n</think>\n\n"
    "{% endif %}{{ c | trim }}[|endofturn|]\n"
    "{% else %}[|{{ m.role }}|]\n{{ m.content }}"
    "{% if m.role != 'user' %}[|endofturn|]{% endif %}\n{% endif %}{% endfor %}"
    + GENERATE
    + "[|assistant|]\n{% if enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}",
    "lfm 2.5": "{{ bos_token }}"
    + _LAST
    + LOOP
    + "{% set c = m.content %}{% if m.role == 'assistant' and loop.index0 < ns.last and "
    "'</think>' in c %}{% set c = c.split('</think>')[-1] | trim %}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ c }}<|im_end|>\n{% endfor %}"
    + GENERATE
    + "<|im_start|>assistant\n{% endif %}",
    "command r7b": "{{ bos_token }}"
    + LOOP
    + "{% if m.role == 'assistant' %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
    "{% if m.thinking %}<|START_THINKING|>{{ m.thinking }}<|END_THINKING|>{% endif %}"
    "<|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"
    "{% else %}<|START_OF_TURN_TOKEN|>{{ '<|USER_TOKEN|>' if m.role == 'user' else "
    "'<|SYSTEM_TOKEN|>' }}{{ m.content }}<|END_OF_TURN_TOKEN|>{% endif %}{% endfor %}"
    + GENERATE
    + "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
    "gemma": "{{ bos_token }}"
    + _NO_SYSTEM
    + LOOP
    + "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    + GENERATE
    + "<start_of_turn>model\n{% endif %}",
    "phi 3": LOOP
    + "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    + GENERATE
    + "<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
    "phi 4": LOOP
    + "<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>{% endfor %}"
    + GENERATE
    + "<|im_start|>assistant<|im_sep|>{% endif %}",
    "llama 3": LOOP
    + "{{ bos_token if loop.first else '' }}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    + GENERATE
    + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "llama 3.2": "{{ bos_token }}{% if date_string is not defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ date_string }}\n\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}"
    "{% set messages = messages[1:] %}{% endif %}<|eot_id|>"
    + LOOP
    + "<|start_header_id|>{{ 'ipython' if m.role == 'tool' else m.role }}<|end_header_id|>\n\n"
    "{% if m.tool_calls %}{% set f = m.tool_calls[0].function %}"
    '{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}'
    "{% else %}{{ m.content | trim }}{% endif %}<|eot_id|>{% endfor %}"
    + GENERATE
    + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "harmony": "<|start|>system<|message|>Date: {{ strftime_now('%Y-%m-%d') }}<|end|>"
    + LOOP
    + "{% if m.role == 'assistant' %}{% if m.thinking and loop.last %}"
    "<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "{% if m.tool_calls %}<|start|>assistant to=functions.{{ m.tool_calls[0].function.name }}"
    "<|channel|>commentary json<|message|>{{ m.tool_calls[0].function.arguments | tojson }}"
    "<|call|>{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endif %}"
    "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    + GENERATE
    + "<|start|>assistant{% endif %}",
    "zephyr": LOOP
    + "<|{{ m.role }}|>\n{{ m.content + eos_token }}\n{% endfor %}"
    + GENERATE
    + "<|assistant|>{% endif %}",
    "magistral": "{{ bos_token }}" + LOOP + "{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
    "{% elif m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]"
    "{% else %}{% if m.reasoning %}[THINK]{{ m.reasoning }}[/THINK]{% endif %}"
    "{{ m.content + eos_token }}{% endif %}{% endfor %}",
    "typed parts": LOOP
    + "{{ m.role.capitalize() }}:{% for p in m.content %}{% if p.type == 'text' %}"
    "{{ ' ' + p.text }}{% else %}<image>{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    + GENERATE
    + "Assistant:{% endif %}",
    "system needed": "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}"
    + LOOP
    + "<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    + GENERATE
    + "<|assistant|>{% endif %}",
    "thinking twice": LOOP
    + "{% if m.role == 'assistant' %}"
    + _SPLIT
    + "<|assistant|>{{ t }}{{ m.content }}<|end|>"
    "{% else %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    + GENERATE
    + "<|assistant|>{% endif %}",
    "thinking behind": LOOP
    + "{% if m.role == 'assistant' %}"
    + _SPLIT
    + "<|assistant|>{{ c }}{% if t %}<note>{{ t }}</note>{% endif %}<|end|>"
    "{% else %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    + GENERATE
    + "<|assistant|>{% endif %}",
}
