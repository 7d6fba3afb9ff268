"""The words of the little world: its people, places, days and things, each with one Chinese and one English form.

In: nothing. Out: tables of `Word(zh, en)` and of sentence forms. Called by `world_text` and `world_talk`. Draws nothing
at random and builds no sentence. No name, place or day is part of another one or of a sentence form, so that whoever
reads a sentence finds its person, place and day by plain search; a test holds the tables to that.
"""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    """One thing in both languages; `getattr(word, language)` reads the form of a language by its name."""

    zh: str
    en: str


def _words(table: str) -> tuple[Word, ...]:
    """Read `中文 english words; …` into words; the Chinese form holds no space."""
    return tuple(Word(*entry.strip().split(" ", 1)) for entry in table.replace("\n", " ").split(";"))


PEOPLE = _words(
    """安娜 Miss Anna; 汤姆 Mr Tom; 玛丽 Miss Mary; 约翰 Mr John; 露西 Miss Lucy; 杰克 Mr Jack; 艾玛 Miss Emma;
    彼得 Mr Peter; 琳达 Miss Linda; 麦克 Mr Mike; 莉莉 Miss Lily; 保罗 Mr Paul; 凯特 Miss Kate; 本恩 Mr Ben;
    苏珊 Miss Susan; 大卫 Mr David; 葛蕾 Miss Grace; 山姆 Mr Sam; 罗丝 Miss Rose; 马克 Mr Mark; 海伦 Miss Helen;
    卢卡 Mr Luca; 妮娜 Miss Nina; 奥托 Mr Otto; 伊娃 Miss Eva; 雨果 Mr Hugo; 索菲 Miss Sophie; 里奥 Mr Leo;
    朱莉 Miss Julie; 弗兰 Mr Frank; 贝拉 Miss Bella; 丹尼 Mr Danny; 建国 Mr Jianguo; 欣怡 Miss Xinyi; 思远 Mr Siyuan;
    雅婷 Miss Yating; 文博 Mr Wenbo; 嘉禾 Miss Jiahe; 启明 Mr Qiming; 立新 Mr Lixin; 乐天 Mr Letian; 雅琪 Mr Yaqi;
    子墨 Mr Zimo; 可心 Mr Kexin; 一诺 Mr Yinuo; 思齐 Mr Siqi; 海波 Mr Haibo; 大勇 Mr Dayong; 亦凡 Mr Yifan;
    梓涵 Mr Zihan; 如意 Mr Ruyi; 阿宝 Mr Abao; 玉兰 Mr Yulan; 德华 Mr Dehua; 百合 Mr Baihe; 石磊 Mr Shilei;
    云飞 Mr Yunfei; 国安 Mr Guoan; 秀丽 Mr Xiuli; 若曦 Miss Ruoxi"""
)
PLACES = _words(
    """市场 the market; 学校 the school; 公园 the park; 码头 the harbour; 车站 the station; 图书馆 the library;
    茶馆 the teahouse; 医院 the hospital; 寺庙 the temple; 磨坊 the mill; 花园 the garden; 剧院 the theatre;
    广场 the square; 河边 the river"""
)
DAYS = _words(
    "星期一 Monday; 星期二 Tuesday; 星期三 Wednesday; 星期四 Thursday; 星期五 Friday; 星期六 Saturday; 星期日 Sunday"
)
MOODS = _words(
    """高兴 happy; 难过 sad; 生气 angry; 害怕 afraid; 平静 calm; 疲惫 tired; 骄傲 proud; 无聊 bored;
    惊讶 surprised; 孤单 lonely"""
)
TRADES = _words(
    """面包师 baker; 医生 doctor; 老师 teacher; 农夫 farmer; 渔夫 fisherman; 木匠 carpenter; 铁匠 smith; 裁缝 tailor;
    画家 painter; 厨师 cook; 警察 policeman; 护士 nurse; 邮差 postman; 歌手 singer"""
)
ANIMALS = _words(
    """小猫 cat; 小狗 dog; 白马 horse; 黄牛 cow; 山羊 goat; 母鸡 hen; 鸭子 duck; 兔子 rabbit; 猴子 monkey;
    乌龟 turtle; 鹦鹉 parrot; 毛驴 donkey"""
)
THINGS = _words(
    """苹果 apples; 鸡蛋 eggs; 包子 buns; 雪梨 pears; 桃子 peaches; 橘子 oranges; 盒子 boxes; 杯子 cups;
    灯笼 lanterns; 风筝 kites; 西瓜 melons; 铃铛 bells"""
)
WEATHER = _words("晴天 sunny; 雨天 rainy; 雪天 snowy; 大风天 windy; 阴天 cloudy; 雾天 foggy; 热天 hot; 冷天 cold")
NUMBERS = range(2, 100)
SMALL_NUMBERS = range(2, 13)

# {a} animal, {t} trade, {n} number, {o} things
ACTIONS = (
    Word("唱了歌", "sang"),
    Word("跳了舞", "danced"),
    Word("干了活", "worked"),
    Word("睡了觉", "slept"),
    Word("看了书", "read a book"),
    Word("喝了茶", "drank tea"),
    Word("吃了面", "ate noodles"),
    Word("讲了故事", "told a story"),
    Word("写了信", "wrote a letter"),
    Word("下了棋", "played chess"),
    Word("放了风筝", "flew a kite"),
    Word("买了{n}个{o}", "bought {n} {o}"),
    Word("卖了{n}个{o}", "sold {n} {o}"),
    Word("数了{n}个{o}", "counted {n} {o}"),
    Word("找到{n}个{o}", "found {n} {o}"),
    Word("喂了{a}", "fed the {a}"),
    Word("看见{a}", "saw the {a}"),
    Word("画了{a}", "drew the {a}"),
    Word("追了{a}", "chased the {a}"),
    Word("帮了{t}", "helped the {t}"),
    Word("遇见{t}", "met the {t}"),
    Word("等了{t}", "awaited the {t}"),
)
# {p} person, {d} day, {l} place, {v} an action with its slots filled, {m} the feeling or nothing
FRAMES = (
    Word("{p}{d}在{l}{m}{v}。", "{p} was at {l} on {d}{m} and {v}."),
    Word("听说{p}{d}在{l}{m}{v}。", "They say {p} was at {l} on {d}{m} and {v}."),
    Word("{p}{d}在{l}{m}又{v}。", "{p} was at {l} on {d}{m} and {v} again."),
)
FEELING = Word("很{m}，", " and felt {m}")
WEATHER_FORMS = (
    Word("{d}是{w}。", "{d} was {w}."),
    Word("人们说{d}是{w}。", "People said that {d} was {w}."),
    Word("镇上{d}是{w}。", "In town {d} was {w}."),
)
FACT_FORMS = {
    "trade": (
        Word("{p}是{t}。", "{p} is a {t}."),
        Word("{p}的工作是{t}。", "{p} works as a {t}."),
        Word("大家都知道{p}是{t}。", "Everyone knows that {p} is a {t}."),
    ),
    "home": (
        Word("{p}住在{l}旁边。", "{p} lives near {l}."),
        Word("{p}的家在{l}旁边。", "The home of {p} is near {l}."),
        Word("大家都知道{p}住在{l}旁边。", "Everyone knows that {p} lives near {l}."),
    ),
    "pet": (
        Word("{p}养了{a}。", "{p} keeps a {a}."),
        Word("{p}的宠物是{a}。", "The pet of {p} is a {a}."),
        Word("大家都知道{p}养了{a}。", "Everyone knows that {p} keeps a {a}."),
    ),
}
DIARY_HEADS = (
    Word("{p}的日记，{d}，{w}", "Diary of {p}, {d}, {w}"),
    Word("{d}，{w}，{p}的日记", "{d}, {w}, diary of {p}"),
)
DIARY_FORMS = (
    Word("今天我在{l}{m}{v}。", "Today I was at {l}{m} and {v}."),
    Word("我今天在{l}{m}{v}。", "I was at {l} today{m} and {v}."),
    Word("我在{l}{m}{v}。", "I was at {l}{m} and {v}."),
)
CLAUSE = Word("{p}{d}在{l}。", "{p} was at {l} on {d}.")
SUMMARY = Word("{p}{d}在{l}很{m}。", "{p} was at {l} on {d} and felt {m}.")

QUESTIONS = {
    "who": (
        Word("{d}谁在{l}？", "Who was at {l} on {d}?"),
        Word("谁{d}在{l}？", "Who was on {d} at {l}?"),
    ),
    "where": (
        Word("{p}{d}在哪里？", "Where was {p} on {d}?"),
        Word("{d}{p}去了哪里？", "On {d} where was {p}?"),
    ),
    "when": (
        Word("{p}哪天在{l}？", "When was {p} at {l}?"),
        Word("{p}是哪天在{l}？", "Which day was {p} at {l}?"),
    ),
    "mood": (
        Word("{p}{d}心情怎么样？", "How was {p} on {d}?"),
        Word("{d}{p}心情怎么样？", "How did {p} feel on {d}?"),
    ),
}
ANSWERS = {"who": CLAUSE, "where": CLAUSE, "when": CLAUSE, "mood": SUMMARY}

UNSEEN_QUESTIONS = {
    "who": (
        Word("请说出{d}去{l}的人是哪位？", "Which person spent {d} at {l}?"),
        Word("{l}{d}来了哪个人？", "Name the one who visited {l} on {d}."),
    ),
    "where": (
        Word("请说出{p}{d}去的地方？", "Which place did {p} visit on {d}?"),
        Word("{d}{p}到了什么地方？", "Name the place where {p} spent {d}."),
    ),
    "when": (
        Word("请说出{p}去{l}的日子？", "Which day did {p} spend at {l}?"),
        Word("{p}到{l}是星期几？", "Name the day that {p} spent at {l}."),
    ),
    "mood": (
        Word("请说出{p}{d}的感受？", "What was the mood of {p} on {d}?"),
        Word("{d}那天{p}有什么感觉？", "Name the feeling that {p} had on {d}."),
    ),
}
TOWN_QUESTIONS = {
    "trade": (
        Word("{p}做什么工作？", "What is the trade of {p}?"),
        Word("{p}是做什么的？", "What does {p} work as?"),
        Word("你知道{p}的工作吗？", "Do you know the trade of {p}?"),
        Word("{p}靠什么谋生？", "How does {p} earn a living?"),
    ),
    "home": (
        Word("{p}住在哪里旁边？", "What does {p} live near?"),
        Word("{p}的家在哪里旁边？", "What is the home of {p} near?"),
        Word("你知道{p}住在哪里旁边吗？", "Do you know what {p} lives near?"),
        Word("{p}家附近有什么？", "What stands near the home of {p}?"),
    ),
    "pet": (
        Word("{p}养了什么？", "What does {p} keep?"),
        Word("{p}的宠物是什么？", "What is the pet of {p}?"),
        Word("你知道{p}养了什么吗？", "Do you know what {p} keeps?"),
        Word("{p}家里有什么动物？", "Which animal lives with {p}?"),
    ),
}
SUMS = (
    Word("{a}加{b}等于几？", "What is {a} plus {b}?"),
    Word("{a}和{b}一共是几？", "How much are {a} and {b}?"),
)
TRANSLATE = Word("翻译成英文：\n{s}", "Translate into Chinese:\n{s}")
SUMMARISE = Word("用一句话总结：\n{s}", "Summarise in one sentence:\n{s}")
EXTRACT = Word("找出人物、地点和时间：\n{s}", "Find person, place and day:\n{s}")
EXTRACTED = Word("人物：{p}；地点：{l}；时间：{d}", "person: {p}; place: {l}; day: {d}")
PERSONAS = (
    Word("你叫{p}，是镇上的{t}，{d}你在{l}。", "You are {p}, a {t} of the town, and on {d} you were at {l}."),
    Word("请扮演{p}，一个{t}，你{d}在{l}。", "Play the part of {p}, a {t}, who was at {l} on {d}."),
)
GREETINGS = (
    Word("你好，我叫{q}，请问你叫什么？", "Hello, I am {q}, what is your name?"),
    Word("我是{q}，你是谁？", "I am {q}, who are you?"),
)
REPLY = Word("你好，{q}，我叫{p}。", "Hello {q}, I am {p}.")
CHAT_QUESTIONS = {
    "trade": (
        Word("{p}，你做什么工作？", "What is your trade, {p}?"),
        Word("请问{p}，你是做什么的？", "Tell me, {p}, what do you work as?"),
    ),
    "where": (
        Word("{p}，你{d}在哪里？", "Where were you on {d}, {p}?"),
        Word("请问{p}，{d}你在哪里？", "Tell me, {p}, where were you on {d}?"),
    ),
    "when": (
        Word("{p}，你哪天在{l}？", "When were you at {l}, {p}?"),
        Word("请问{p}，你在{l}是哪天？", "Tell me, {p}, when were you at {l}?"),
    ),
}
