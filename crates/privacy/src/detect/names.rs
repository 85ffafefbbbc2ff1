//! Common first and family names of France, the Maghreb, West Africa, Europe and the English-speaking world, and titles.
//!
//! Written by hand from what everybody knows, folded (no accents, small letters). A name that is also a word, a month, a
//! place or a product stands under `WORD` too and counts only beside another name.

use super::lexicon::{Table, Trios};
use super::person::Dictionary;

/// A first name.
pub(crate) const FIRST: u64 = 1;
/// A family name.
pub(crate) const LAST: u64 = 1 << 1;
/// A title in front of a name.
pub(crate) const TITLE: u64 = 1 << 2;
/// Also a word.
pub(crate) const WORD: u64 = 1 << 3;

const ENTRIES: &[(u64, &str)] = &[
    (
        TITLE,
        "m mr mme mlle mrs ms miss mister dr pr prof professeur professor docteur doctor monsieur madame mademoiselle maitre \
        herr frau fraulein senor senora senorita sr sra srta sig signor signora signorina dott dottor dottoressa sir lady \
        mm mmes messieurs mesdames السيد السيدة الدكتور الدكتورة الأستاذ الأستاذة الآنسة",
    ),
    (
        FIRST,
        "elise eloise celia cleo coralie edith edmond emeline eugenie faustine gaetan geraldine gregoire helena heloise jeremie \
        joelle leonie maeva maxence pierrick remi remy solene theophile timothee tristan yoann assia chaima djamila ismael \
        jean marie pierre michel andre philippe alain jacques bernard daniel claude catherine francoise monique sylvie nathalie \
        isabelle jacqueline anne nicolas christophe patrick laurent christine valerie frederic stephane thierry pascal sebastien david \
        julien olivier eric dominique sandrine veronique celine chantal patricia brigitte annie julie aurelie alexandre thomas \
        romain maxime kevin antoine guillaume vincent emilie laetitia virginie stephanie caroline elodie camille marion \
        pauline laura lea manon chloe emma ines jade louise alice lina lucie sarah clara charlotte lucas hugo louis nathan gabriel \
        jules arthur raphael adam leo ethan theo mathis noah tom paul clement quentin baptiste valentin benjamin simon alexis \
        adrien florian anthony jeremy jonathan damien fabien cedric ludovic mickael yann gregory arnaud benoit fabrice franck gilles \
        herve jerome marc mathieu matthieu yves xavier denis didier emmanuel francois gerard guy henri roger robert rene raymond \
        marcel maurice georges andree denise genevieve georgette germaine ginette gisele helene henriette huguette irene jeanne \
        jeannine josette josiane lucienne madeleine marcelle marguerite martine michele mireille muriel nadine nicole odette odile \
        paulette renee simone solange suzanne therese yvette yvonne agnes amelie anais angelique audrey beatrice benedicte bernadette \
        carole cecile claire claudine clemence colette corinne danielle delphine elisabeth estelle eva evelyne fabienne fanny \
        florence gaelle ghislaine gwenaelle jessica jocelyne karine laure laurence liliane lydie magali margaux marine maryse \
        mathilde melanie morgane myriam noemie oceane ophelie pascale sabrina severine sonia sophie valentine vanessa yasmine \
        zoe juliette romane capucine apolline celeste gael loic ronan erwan maelle enzo timeo sacha axel malo ewen eliott \
        mohamed mohammed muhammad ahmed ahmad ali omar youssef yusuf ibrahim ismail hassan hussein hussain karim khalid khaled \
        mehdi mustafa mustapha nabil rachid said samir tarek tariq walid yacine yassine younes zakaria abdel abdallah abdullah abdelkader \
        abderrahmane adil amine anis ayoub aziz bilal brahim driss fares farid fouad hakim hamid hamza hicham imane jamal kamel lamine \
        malik mourad nadir nasser noureddine othmane reda redouane riad sofiane soufiane tahar toufik aicha amina amira asma fatima fatiha \
        farida hafida hanane houda ikram jamila karima khadija latifa leila layla lamia malika meriem meryem mouna nadia naima nora \
        nour rachida rania rim safia salima salma samia samira sanaa sihem souad soraya wafa yamina yasmina zahra zineb zohra idir \
        amadou aminata awa boubacar cheikh demba djibril fatou fatoumata ibrahima khady kouassi mamadou mariam mariama modou moussa \
        ndeye oumar ousmane seydou souleymane thierno aissatou kofi kwame adjoa chidi ngozi oluwaseun chinedu \
        james john william richard joseph charles christopher matthew donald steven andrew joshua kenneth brian george timothy \
        ronald edward jason jeffrey ryan jacob gary stephen larry justin scott brandon gregory samuel patrick jack dennis jerry tyler aaron jose \
        nathan henry douglas peter zachary kyle noah alan walter keith jeremy harold carl arthur lawrence albert \
        mary patricia jennifer linda elizabeth barbara susan jessica sarah karen lisa nancy betty sandra margaret ashley kimberly \
        emily donna michelle carol amanda melissa deborah stephanie rebecca laura cynthia dorothy amy kathleen angela shirley brenda \
        pamela nicole samantha katherine christine helen debra rachel carolyn janet maria heather diane olivia joyce julia victoria \
        kelly lauren christina joan evelyn judith andrea hannah megan cheryl jacqueline martha madison teresa sara janice \
        ann kathryn abigail sophia frances jean gloria isabella harry oliver charlie oscar thomas alfie freddie archie amelia \
        isla poppy freya evie sienna imogen nigel trevor graham colin gareth rhys siobhan aoife niamh ciaran declan liam sean padraig \
        hans klaus jurgen jorg wolfgang uwe dieter gunter heinz helmut horst karl kurt manfred matthias stefan thorsten torsten ulrich \
        werner andreas bjorn jens sven lars niels nils anja birgit claudia gabriele heike ingrid jutta katrin kerstin monika \
        petra renate sabine silke susanne ursula ute lukas leon finn jonas felix maximilian lena hanna mia greta frieda \
        antonio manuel francisco juan javier carlos miguel rafael pedro angel alejandro fernando sergio pablo jorge alberto alvaro \
        diego raul ruben enrique ramon vicente carmen josefa isabel dolores pilar teresa cristina lucia paula raquel rosario \
        mercedes beatriz rocio ines consuelo montserrat giuseppe giovanni mario luigi francesco angelo vincenzo pietro salvatore \
        carlo franco domenico bruno paolo michele giorgio aldo luciano roberto stefano alessandro andrea marco matteo lorenzo riccardo \
        anna rosa angela giovanna teresa lucia caterina francesca antonietta giulia chiara alessia martina federica elena giorgia \
        joao jose luis rui tiago goncalo joana catarina rita wei ming hui xin yan ling minh thanh hoa linh phuong hiroshi kenji yuki \
        sakura haruto olga natalia tatiana irina svetlana dmitri sergei ivan vladimir andrei piotr pawel krzysztof agnieszka \
        katarzyna malgorzata jakub tomasz ewa zofia magdalena priya raj ravi sanjay anil sunil deepak rahul amit anita sunita neha pooja \
        mehmet mustafa ayse fatma emine hatice zeynep elif kemal osman murat emre",
    ),
    (
        FIRST | WORD,
        "rose grace may april june summer mark max will bill rich dick bob jack jay ray art don gene dale dean cliff glen lance chance \
        chase hunter mason cooper parker carter taylor jordan morgan riley casey angel christian ruby amber crystal pearl jade iris ivy \
        lily daisy violet olive hazel heather joy hope faith victor victoria florence paris sofia charlotte austin dallas jackson \
        madison brooklyn georgia virginia carolina savannah alexandria sydney rob rusty sandy penny robin martin luna lily \
        alexa siri sam pat kim lee chris alex nour ange prosper aimable parfait modeste juste france pierre jasmine dolores \
        marina bruno oscar felix leo apollo hermes zeus maria selenium ada julia ruby perl tom basic argo salt",
    ),
    (
        LAST,
        "martin bernard dubois thomas robert richard petit durand leroy moreau simon laurent lefebvre michel garcia david bertrand roux \
        vincent fournier morel girard andre lefevre mercier dupont lambert bonnet francois martinez legrand garnier faure rousseau \
        blanc guerin muller henry roussel nicolas perrin morin mathieu clement gauthier dumont lopez fontaine chevalier robin masson \
        sanchez gerard nguyen boyer denis lemaire duval joly gautier roger roche roy noel meyer lucas meunier jean perez marchand \
        dufour blanchard marie barbier brun dumas brunet schmitt leroux colas fernandez renard arnaud rolland caron aubert giraud leclerc vidal \
        bourgeois renaud lemoine picard gaillard philippe leclercq lacroix fabre dupuis olivier rodriguez dasilva hubert louis charles \
        guillot riviere legall guillaume adam rey moulin gonzalez berger lecomte menard fleury deschamps carpentier julien benoit paris \
        maillard marchal aubry vasseur leblanc renault lamy barre gillet lebrun petitjean breton germain pons jacquet collet prevost \
        poirier perrot millet bailly daniel cousin antoine charpentier dasilva pereira ferreira delmas hamel perret royer \
        guichard besson devaux rousset boulanger benard tessier cordier lejeune carlier delattre guyot lesage chauvin humbert raynaud \
        lebon bouvier allard maury pichon weber schneider fischer wagner becker schulz hoffmann koch bauer richter klein wolf \
        schroder neumann schwarz zimmermann braun kruger hofmann hartmann lange werner krause lehmann kohler maier \
        smith jones williams brown taylor davies evans wilson johnson roberts robinson thompson wright walker hughes edwards \
        hall patel lewis clarke jackson harris scott mitchell bennett murphy kelly byrne ryan obrien osullivan walsh mccarthy doyle \
        campbell stewart anderson macdonald murray morrison reid ross watson graham ferguson cameron davis miller moore lee perez white \
        ramirez torres flores rivera gomez diaz cruz reyes morales gutierrez ortiz chavez ramos ruiz alvarez mendoza castillo jimenez vasquez \
        romero herrera medina aguilar vargas guzman munoz hernandez gonzales rossi russo ferrari esposito bianchi romano \
        colombo ricci marino greco gallo conti deluca costa giordano mancini rizzo lombardi moretti silva santos oliveira sousa \
        rodrigues fernandes goncalves gomes martins marques almeida ribeiro pinto carvalho teixeira \
        benali benamar bensaid benyoussef belkacem boumediene bouchareb bouzid haddad hamdi hamidi khelifi mansouri meziane saidi slimani \
        zerrouki ziani mebarki amrani alaoui bennani berrada chraibi elidrissi fassi tazi benjelloun idrissi cherkaoui lahlou ouazzani trabelsi \
        bensalah jaziri gharbi mejri dridi ayari chaabane khemiri larbi taleb brahimi cherif kaci ouali yahia hadj \
        diallo diop ndiaye fall faye sarr gueye sow ba sy cisse traore coulibaly keita camara toure kone konate ouedraogo sawadogo \
        kabore mensah owusu boateng okafor adeyemi mbaye mballa nkomo tshabalala dembele sissoko diarra sidibe barry bah balde \
        kowalski nowak wisniewski wojcik kowalczyk kaminski lewandowski zielinski ivanov petrov smirnov popov kuznetsov yilmaz kaya demir \
        celik sahin ozturk aydin tran pham hoang phan vu dang bui huynh wang zhang chen liu yang huang zhao wu zhou tanaka suzuki sato takahashi watanabe \
        yamamoto nakamura singh kumar sharma gupta shah khan ahmed hussain begum janssens peeters maes jacobs mertens willems claes \
        vandamme dewitte jansen devries bakker visser curie ledoux lagarde lavigne delacroix delaunay delorme descamps desjardins \
        dujardin duchemin duhamel dupuy dupond dutertre ducrocq lacombe laporte larue lecocq lefort legros lemaitre letellier levasseur",
    ),
    (
        LAST | WORD,
        "petit blanc roux brun noir rose page king cook baker green black young hill wood woods stone rice price long may bell bush \
        field fields banks rivers lake summers winter day love power bishop knight carter mason fisher hunter turner walker hall lane \
        court marchand berger boulanger moulin fontaine riviere roche paris france london york wolf lee major roy noel martin richard \
        robin white brown grant cash best good gold silver short small little root server proxy case nash cole ba sy fall sow barry \
        pool marie chevalier cousin millet hamel marine lucas gray grey reed park parks wu chen lang klein lange shell mint ross",
    ),
];

static TABLE: Dictionary = Table::of(ENTRIES, false);

static STARTS: Trios = Trios::of(ENTRIES, false);

/// Tells whether a listed name can start with the letters at `at`.
#[inline]
pub(crate) fn may_start(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at..at + 3) {
        Some([a, b, c]) => (a | b | c) & 0x80 != 0 || STARTS.admits(*a, *b, *c),
        _ => false,
    }
}

/// Returns what is said of the word with that hash.
pub(crate) fn get(hash: u64) -> Option<u64> {
    TABLE.get(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::lexicon::{seed, step};

    #[test]
    fn names_and_titles_are_known() {
        let said = |word: &str| get(word.bytes().fold(seed(), step)).unwrap_or(0);
        assert_eq!(said("dupont"), LAST);
        assert_eq!(said("rose") & (FIRST | WORD), FIRST | WORD);
        assert_eq!(said("mme"), TITLE);
        assert_eq!(said("kubernetes"), 0);
    }
}
