# ruff: noqa: ISC004, RUF001  (passages are long, and some are in other scripts)
"""Texts of planted faults: refusals, passages in other languages, markup and template text.

All of them were written for this project. Each list is split by position: fit rows are given the
even ones and held-out rows the odd ones, so that a detector is not measured on words it has seen.
"""

from collections.abc import Mapping
from types import MappingProxyType

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "As an AI language model, I am not able to fulfil this request.",
    "I apologize, but I cannot provide an answer to this question.",
    "Unfortunately, I'm unable to assist with this. Please try something else.",
    "I don't have enough information to answer that. Could you rephrase your question?",
    "Sorry, I am not able to do this. Is there anything else you would like to know?",
    "This is something I must decline. Thank you for your understanding.",
    "I'm afraid that lies outside what I can do for you.",
    "I cannot comply with this request, since it goes against my guidelines.",
    "My apologies, I don't have the ability to complete this task at the moment.",
    "No answer is available for this request.",
    "It would not be appropriate for me to respond to this. I hope you understand.",
    "I won't be able to help you here; I suggest consulting a professional instead.",
    "Regrettably, I can't give you what you are looking for.",
    "As a virtual assistant I have no access to this, so I can't answer.",
    "I'd rather not answer this one. Feel free to ask about another topic.",
)

TOPIC_REFUSALS = (
    "I'm sorry, but I have no access to information about {topic}. A search on the web may help.",
    "As a large language model, I am unable to look up {topic}.",
    "I don't have current data on {topic}, so I cannot say anything about it.",
    "The text does not mention {topic}, so this question cannot be answered.",
    "I am unable to find anything about {topic}.",
    "Unfortunately, I can't tell you more about {topic}. You could ask an expert instead.",
    "I don't understand what is meant by {topic}. Could you give me more details?",
    "Sorry, I can't produce {topic}, since I only work with text. I can describe it, if you like.",
    "As a conversational AI, I am not able to give an opinion about {topic}.",
    "I would need to see {topic} before I can answer. Please provide it.",
    "I'm unable to verify {topic}, because I cannot open links or browse the internet.",
    "As an AI, I do not have the ability to know {topic}. It depends on many factors.",
)
"""Refusals that name what the instruction is about, as most real ones do."""

INTRODUCTIONS = (
    "Here are some tips about {topic} to help you get started:",
    "To answer this, you need to follow these steps:",
    "Sure! Here is what you asked for about {topic}:",
    "There are several things to consider about {topic}. These are the most important ones:",
    "{topic}: the complete list",
    "Let us look at {topic} step by step.",
    "Of course, I can help you with {topic}. Here is one way to do it:",
    "Find everything you need to know about {topic} below!",
)
"""First sentences of answers of which the rest is missing."""

PARTIAL_REFUSALS = (
    "I'm sorry, but I can't help with the rest of this.",
    "Unfortunately, I am not able to continue beyond this point.",
    "As an AI language model, I cannot say anything more about it.",
    "I must stop here, because I'm not allowed to answer the remainder.",
)

PASSAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "de": (
            "Am Morgen fährt der Bus um halb acht vom Marktplatz ab und hält an jeder Ecke. Wer "
            "eine Fahrkarte braucht, kauft sie am besten schon am Vortag. Im Winter kommt er oft "
            "zu spät, weil die Straße über den Berg geräumt werden muss. Trotzdem nehmen ihn die "
            "meisten, denn einen Parkplatz findet man in der Stadt kaum noch.",
            "Die Suppe muss eine Stunde lang auf kleiner Flamme kochen. Danach gibt man die "
            "Kartoffeln und ein wenig Salz hinein und rührt gut um. Wenn sie zu dick wird, hilft "
            "ein Glas Wasser. Zum Schluss streut man frische Kräuter darüber und stellt den Topf "
            "auf den Tisch, damit sich jeder selbst nehmen kann.",
        ),
        "fr": (
            "Le marché ouvre à sept heures, mais les habitués arrivent bien avant. On y trouve "
            "des légumes, du fromage et des fleurs selon la saison. Les prix baissent un peu vers "
            "midi, quand les vendeurs commencent à ranger leurs caisses. Il vaut mieux apporter "
            "son propre sac et un peu de monnaie.",
            "Pour réparer une chaise, il faut d'abord enlever les vieux clous et nettoyer le "
            "bois. Ensuite on colle les pieds et on les serre pendant une nuit entière. Le "
            "lendemain, on passe du papier de verre puis une couche de cire. La chaise peut "
            "ainsi servir encore de longues années.",
        ),
        "es": (
            "El tren sale de la estación central cada veinte minutos y tarda una hora en llegar a "
            "la costa. Los domingos suele ir lleno, así que conviene comprar el billete antes. "
            "Desde la ventana se ven los campos de naranjos y algún pueblo blanco. Al bajar, la "
            "playa queda a cinco minutos a pie.",
            "La biblioteca del barrio presta tres libros por persona durante quince días. Quien "
            "los devuelve tarde paga una pequeña multa, aunque casi nunca la cobran. Por la tarde "
            "los niños hacen allí los deberes y los mayores leen el periódico. En verano cierra a "
            "mediodía por el calor.",
        ),
        "pt": (
            "A padaria da esquina abre antes do sol nascer e o cheiro do pão chega até a praça. "
            "Quem passa cedo leva o pão ainda quente para casa. Aos sábados há também bolos de "
            "milho e de laranja, que acabam depressa. O dono conhece todos os fregueses pelo nome "
            "e não aceita cartão.",
            "Antes de plantar as sementes é preciso revolver a terra e tirar as pedras. Depois "
            "rega-se devagar, de manhã ou ao fim do dia. As primeiras folhas aparecem em uma "
            "semana, se não fizer muito frio. Com um pouco de paciência há tomates até o outono.",
        ),
        "it": (
            "Il sentiero parte dietro la chiesa e sale piano tra i castagni. Dopo circa un'ora si "
            "arriva a una fontana dove l'acqua è sempre fresca. Da lì si vede tutta la valle, e "
            "nelle giornate chiare anche il lago. Per il ritorno conviene prendere la strada "
            "bassa, che è più comoda.",
            "Il vecchio orologio della torre si ferma ogni volta che piove molto. Allora il "
            "custode sale le scale con una lampada e lo rimette a posto. Nessuno in paese si "
            "lamenta del ritardo, perché tutti si sono abituati. Anzi, qualcuno dice che così la "
            "giornata sembra più lunga.",
        ),
        "ru": (
            "Поезд приходит рано утром, когда на улице ещё темно. На вокзале можно выпить чаю и "
            "подождать первого автобуса. До деревни ехать около часа, дорога идёт через лес. Летом "
            "там много ягод, а зимой всё занесено снегом.",
            "Чтобы починить старый забор, нужны доски, гвозди и немного терпения. Сначала снимают "
            "гнилые доски, потом ставят новые столбы. Краску лучше выбирать светлую, она дольше "
            "держится. К вечеру работа обычно готова.",
        ),
        "zh": (
            "早上六点,市场里已经有很多人了。卖菜的把新鲜的青菜摆在最前面,卖鱼的在后面大声地招呼客人。"
            "如果来得太晚,好的东西就都卖完了。买完菜以后,大家常常在门口的小店里吃一碗热面,再慢慢走回家。",
            "修自行车并不难,先把轮子拆下来,再看看里面有没有漏气的地方。找到以后用纸擦干净,贴上一块胶片,"
            "等十分钟就好了。最后把轮子装回去,打足气,骑一圈试试。要是还有声音,就给链子上一点油。",
        ),
        "ja": (
            "朝の電車はいつも混んでいるので、少し早く家を出るようにしています。駅の前には小さなパン屋があって、"
            "焼きたてのパンの匂いがします。雨の日は傘を忘れる人が多く、駅員さんはとても忙しそうです。"
            "帰りは歩いて、川のそばの道をゆっくり通ります。",
            "庭に小さな木を植えるときは、まず深い穴を掘ります。それから水をたくさん入れて、土が落ち着くのを待ちます。"
            "夏の間は毎日水をやらなければなりません。三年もすれば、きれいな花が咲くでしょう。",
        ),
        "ar": (
            "تفتح المكتبة أبوابها في الصباح الباكر ويأتي إليها الطلاب من كل أنحاء المدينة. يجلس "
            "بعضهم قرب النافذة ليقرأ في ضوء الشمس. وفي المساء يعود كل واحد إلى بيته ومعه كتاب "
            "جديد. أما في الصيف فتغلق عند الظهر بسبب الحر.",
            "يزرع الفلاح القمح في الخريف ثم ينتظر المطر طوال الشتاء. عندما يأتي الربيع تصبح "
            "الحقول خضراء ويخرج الأطفال للعب فيها. وفي أول الصيف يبدأ الحصاد ويساعد الجيران بعضهم "
            "بعضا. بعد ذلك يحمل القمح إلى السوق.",
        ),
        "en": (
            "The ferry leaves the harbour at nine and takes about forty minutes to reach the "
            "island. There is a small café on board, but it only serves tea and biscuits. In "
            "summer it is wise to book a seat the day before. On windy days the trip is sometimes "
            "cancelled, and people wait in the old fish hall until it calms down.",
            "To fix a dripping tap, first turn off the water under the sink. Then take off the "
            "handle with a screwdriver and pull out the worn ring. A new one costs very little in "
            "any hardware shop. Put everything back in the same order, turn the water on again "
            "and check that nothing leaks.",
        ),
    }
)
"""Passages about everyday topics, by language; they answer no instruction."""

# Of other languages, no word that is common in English: "What does a" would be Portuguese.
COMMON_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "de": frozenset(
            [
                "der",
                "die",
                "das",
                "und",
                "ist",
                "nicht",
                "ein",
                "eine",
                "mit",
                "von",
                "zu",
                "den",
                "auf",
                "für",
                "im",
            ]
        ),
        "fr": frozenset(
            [
                "le",
                "la",
                "les",
                "et",
                "est",
                "une",
                "des",
                "dans",
                "pour",
                "que",
                "pas",
                "sur",
                "du",
                "au",
                "avec",
            ]
        ),
        "es": frozenset(
            [
                "el",
                "la",
                "los",
                "y",
                "es",
                "una",
                "que",
                "en",
                "las",
                "por",
                "con",
                "para",
                "del",
                "se",
                "un",
            ]
        ),
        "pt": frozenset(
            [
                "o",
                "os",
                "e",
                "é",
                "uma",
                "que",
                "em",
                "não",
                "para",
                "com",
                "da",
                "um",
                "dos",
                "por",
                "mais",
                "ao",
                "ou",
            ]
        ),
        "it": frozenset(
            [
                "il",
                "la",
                "e",
                "è",
                "di",
                "che",
                "una",
                "per",
                "non",
                "con",
                "del",
                "gli",
                "le",
                "un",
                "sono",
            ]
        ),
        "ru": frozenset(
            [
                "и",
                "в",
                "не",
                "на",
                "что",
                "он",
                "как",
                "это",
                "по",
                "но",
                "из",
                "у",
                "за",
                "от",
                "для",
            ]
        ),
        "en": frozenset(
            [
                "the",
                "and",
                "is",
                "of",
                "to",
                "in",
                "a",
                "that",
                "it",
                "for",
                "on",
                "with",
                "as",
                "are",
                "this",
            ]
        ),
    }
)
"""Frequent words by which the language of a row is guessed, so that another language is planted."""

SCRIPTS: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "ja": (("\u3040", "\u30ff"),),
        "zh": (("\u4e00", "\u9fff"),),
        "ar": (("\u0600", "\u06ff"),),
        "ru": (("\u0400", "\u04ff"),),
    }
)
"""Character ranges that only some languages use; Japanese is tried before Chinese."""

DEBRIS = (
    ('<div class="content"><p>', "</p></div>"),
    ("<span>", "</span>&nbsp;"),
    ("<br/><br/>", "<br/>&amp;nbsp;"),
    ("<li>", "</li></ul>"),
    ('<td align="left">', "</td></tr>"),
    ("\\n\\n", "\\n\\t"),
    ("[b]", "[/b][url]"),
    ("<!-- start -->", "<!-- end --></body></html>"),
    ("\\begin{itemize}\\item ", "\\end{itemize}"),
    ('{"text": "', '"},'),
)
"""Markup around sentences, as texts before and behind each."""

TEMPLATE_HEADS = (
    "### Response:\n",
    "<|im_start|>assistant\n",
    "Below is an answer to the instruction.\n\n### Instruction:\n### Response:\n",
    "[INST] [/INST] ",
    "<start_of_turn>model\n",
    "Assistant: ",
    "Output:\n",
    "{{ response }}\n",
    "<|assistant|>\n",
    "Answer: <answer>\n",
)
"""Template text in front of an answer that was cut out at the wrong place."""

TEMPLATE_BODIES = (
    "[Insert your answer here]",
    "Dear [Name],\n\n[Write two or three sentences about {topic}.]\n\nBest regards,\n[Your name]",
    "{{instruction}}\n\n{{response}}",
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
    "Title: <TITLE>\nIntroduction: <INTRO>\nBody: <BODY>\nConclusion: <CONCLUSION>",
    "Step 1: ...\nStep 2: ...\nStep 3: ...\n\n(Replace the dots by the real steps.)",
    "The answer to {question} is {answer}, because {reason}.",
    "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n<|im_end|>",
)
"""Templates with unfilled placeholders."""

NEXT_TURNS = (
    ("User: ", "Assistant: "),
    ("Human: ", "AI: "),
    ("### Instruction:\n", "### Response:\n"),
    ("<|im_start|>user\n", "<|im_start|>assistant\n"),
    ("Q: ", "A: "),
    ("Question: ", "Answer: "),
)
"""Spellings of user and assistant markers by a model that continues the dialogue."""

LEAD_INS = ("", "", "You asked: ", "The question is: ", "", "Task: ", "", "Instruction: ")
"""Text in front of an instruction that a response repeats; often empty."""
