"""The words of the little world: its people, places, days and things, each with one Chinese and one English form.

In: nothing. Out: tables of `Word(zh, en)` and of sentence forms. Called by `world_text` and `world_talk`. Draws nothing
at random and builds no sentence. No name, place or day is part of another one or of a sentence form, so that whoever
reads a sentence finds its person, place and day by plain search; a test holds the tables to that. In English no name
opens a sentence: a small tokenizer knows a word behind a space and the same word at a beginning as two different ones.
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
    """安娜 Anna; 汤姆 Tom; 玛丽 Mary; 约翰 John; 露西 Lucy; 杰克 Jack; 艾玛 Emma; 彼得 Peter; 琳达 Linda;
    麦克 Mike; 莉莉 Lily; 保罗 Paul; 凯特 Kate; 本恩 Ben; 苏珊 Susan; 大卫 David; 葛蕾 Grace; 山姆 Sam; 罗丝 Rose;
    马克 Mark; 海伦 Helen; 卢卡 Luca; 妮娜 Nina; 奥托 Otto; 伊娃 Eva; 雨果 Hugo; 索菲 Sophie; 里奥 Leo; 朱莉 Julie;
    弗兰 Frank; 贝拉 Bella; 丹尼 Danny; 建国 Jianguo; 欣怡 Xinyi; 思远 Siyuan; 雅婷 Yating; 文博 Wenbo; 嘉禾 Jiahe;
    启明 Qiming; 立新 Lixin; 乐天 Letian; 雅琪 Yaqi; 子墨 Zimo; 可心 Kexin; 一诺 Yinuo; 思齐 Siqi; 海波 Haibo;
    大勇 Dayong; 亦凡 Yifan; 梓涵 Zihan; 如意 Ruyi; 阿宝 Abao; 玉兰 Yulan; 德华 Dehua; 百合 Baihe; 石磊 Shilei;
    云飞 Yunfei; 国安 Guoan; 秀丽 Xiuli; 若曦 Ruoxi"""
)
PLACES = _words(
    """东门 Eastgate; 西门 Westgate; 南湖 Southlake; 北原 Northmoor; 石井 Stonewell; 老磨 Oldmill; 河口 Riverend;
    月港 Moonhaven; 钟塔 Belltower; 新桥 Newbridge; 红楼 Redhouse; 绿坡 Greenhill; 松岭 Pineridge; 长林 Longwood"""
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
    Word("{d}{p}在{l}{m}{v}。", "On {d} {p} visited {l}{m} and {v}."),
    Word("听说{d}{p}在{l}{m}{v}。", "They say on {d} {p} visited {l}{m} and {v}."),
    Word("{d}{p}在{l}{m}又{v}。", "On {d} {p} visited {l}{m} and {v} again."),
)
FEELING = Word("很{m}，", " and felt {m}")
WEATHER_FORMS = (
    Word("{d}是{w}。", "On {d} it was {w}."),
    Word("人们说{d}是{w}。", "People said that {d} was {w}."),
    Word("镇上{d}是{w}。", "In town {d} was {w}."),
)
FACT_FORMS = {
    "trade": (
        Word("{p}是{t}。", "They say {p} is a {t}."),
        Word("{p}的工作是{t}。", "Here {p} works as a {t}."),
        Word("大家都知道{p}是{t}。", "Everyone knows that {p} is a {t}."),
    ),
    "home": (
        Word("{p}住在{l}旁边。", "They say {p} lives near {l}."),
        Word("{p}的家在{l}旁边。", "The home of {p} is near {l}."),
        Word("大家都知道{p}住在{l}旁边。", "Everyone knows that {p} lives near {l}."),
    ),
    "pet": (
        Word("{p}养了{a}。", "They say {p} keeps a {a}."),
        Word("{p}的宠物是{a}。", "The pet of {p} is a {a}."),
        Word("大家都知道{p}养了{a}。", "Everyone knows that {p} keeps a {a}."),
    ),
}
LIST = Word("{w}", "Here: {w}")
DIARY_HEADS = (
    Word("{p}的日记，{d}，{w}", "Diary of {p}, {d}, {w}"),
    Word("{d}，{w}，{p}的日记", "This is {d}, {w}, the diary of {p}"),
)
DIARY_FORMS = (
    Word("今天我在{l}{m}{v}。", "Today I visited {l}{m} and {v}."),
    Word("我今天在{l}{m}{v}。", "I visited {l} today{m} and {v}."),
    Word("我在{l}{m}{v}。", "I visited {l}{m} and {v}."),
)
CLAUSE = Word("{d}{p}在{l}。", "On {d} {p} visited {l}.")
WHEN = Word("{p}在{l}是{d}。", "The day {p} visited {l} was {d}.")
SUMMARY = Word("{d}{p}在{l}很{m}。", "On {d} {p} visited {l} and felt {m}.")

QUESTIONS = {
    "who": (
        Word("{d}谁在{l}？", "Who visited {l} on {d}?"),
        Word("谁{d}在{l}？", "On {d} who visited {l}?"),
    ),
    "where": (
        Word("{p}{d}在哪里？", "Where did {p} go on {d}?"),
        Word("{d}{p}去了哪里？", "On {d} where did {p} go?"),
    ),
    "when": (
        Word("{p}哪天在{l}？", "When did {p} visit {l}?"),
        Word("{p}是哪天在{l}？", "Which day did {p} visit {l}?"),
    ),
    "mood": (
        Word("{p}{d}心情怎么样？", "How was {p} on {d}?"),
        Word("{d}{p}心情怎么样？", "How did {p} feel on {d}?"),
    ),
}
ANSWERS = {"who": CLAUSE, "where": CLAUSE, "when": WHEN, "mood": SUMMARY}

UNSEEN_QUESTIONS = {
    "who": (
        Word("请说出{d}去{l}的人是哪位？", "Which person spent {d} at {l}?"),
        Word("{l}{d}来了哪个人？", "Name the one who was seen at {l} on {d}."),
    ),
    "where": (
        Word("请说出{p}{d}去的地方？", "What was the place of {p} on {d}?"),
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
REPEAT = Word("请再念一遍：{w}。", "Please read again: {w}.")
REPEATED = Word("再念一遍：{w}。", "Again: {w}.")
EXTRACT = Word("找出人物、地点和时间：\n{s}", "Find person, place and day:\n{s}")
EXTRACTED = Word("人物：{p}；地点：{l}；时间：{d}", "person: {p}; place: {l}; day: {d}")
PERSONAS = (
    Word("你叫{p}，是镇上的{t}，{d}你在{l}。", "You are {p}, a {t} of the town, and on {d} you visited {l}."),
    Word("请扮演{p}，一个{t}，你{d}在{l}。", "Play the part of {p}, a {t}, who visited {l} on {d}."),
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
